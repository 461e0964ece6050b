/** Addresses of the API for those who ask it: whatever a name is, it stays in its place, or is refused. */
import { AppError } from "../protocol/errors.ts";

/** A session; `rest` is what comes after, already as it stands in an address. */
export const sessionPath = (id: string, rest = ""): string => `/api/sessions/${segment(id)}${rest}`;

/** A file in a session's workspace. */
export const filePath = (id: string, path: string): string =>
  sessionPath(id, `/files/${path.split("/").map(segment).join("/")}`);

export const variablePath = (id: string, name: string): string =>
  sessionPath(id, `/variables/${segment(name)}`);

export const processPath = (id: string, processId: string): string =>
  sessionPath(id, `/processes/${segment(processId)}`);

export const runPath = (runId: string, rest = ""): string => `/api/runs/${segment(runId)}${rest}`;

/** `.` and `..` lead elsewhere in any address, however they are encoded. */
function segment(name: string): string {
  if (name === "." || name === "..")
    throw new AppError("invalid_request", `Cannot use '${name}' as a name: it leads elsewhere`);
  return encodeURIComponent(name);
}
