/** Tools for the files of a session. */
import { z } from "zod";
import { filePath, sessionPath } from "../api/addresses.ts";
import { byteSize } from "../lib/byte-size.ts";
import { accepted, ask } from "./api.ts";
import { sessionId } from "./run-tools.ts";
import { cut } from "./text.ts";
import { type AnyTool, CHANGES, LOOKS, say, tool } from "./tool.ts";

const MAX_LISTED = 1_000;
const MAX_READ_BYTES = 1 << 20;

type File = { path: string; size: number };

const path = z.string().min(1).optional().describe("Relative to the workspace, as data/in.csv");
const file_path = z.string().min(1).optional().describe("The same");

const list = tool("era_list_files", {
  title: "List files",
  description: "Lists the files of a session's workspace with their sizes.",
  input: z.strictObject({ session_id: sessionId }),
  output: z.object({
    files: z.array(z.object({ path: z.string(), size: z.number() })),
    total_count: z.number(),
  }),
  annotations: LOOKS,
  call: async ({ session_id: id }, api) => {
    const request = { method: "GET", path: sessionPath(id, `/files?limit=${MAX_LISTED}`) } as const;
    const { files, total_count } = await ask<{ files: File[]; total_count: number }>(api, request);
    const lines = files.map((file) => `- ${file.path} (${byteSize(file.size)})`);
    const more = total_count - files.length;
    const text = [...lines, ...(more > 0 ? [`… and ${more} more`] : [])].join("\n");
    return {
      content: say(text === "" ? "There are no files" : cut(text)),
      structure: { files: files.map((file) => ({ path: file.path, size: file.size })), total_count },
    };
  },
});

const upload = tool("era_upload_file", {
  title: "Write a file",
  description: "Writes a text file into a session's workspace; folders on the way are made.",
  input: z.strictObject({ session_id: sessionId, path, file_path, content: z.string() }),
  output: z.object({ path: z.string(), size: z.number() }),
  annotations: CHANGES,
  call: async ({ session_id: id, content, ...named }, api) => {
    const written = await ask<File>(api, { method: "PUT", path: filePath(id, pathOf(named)), content });
    return {
      content: say(`Wrote ${written.path}, ${byteSize(written.size)}`),
      structure: { path: written.path, size: written.size },
    };
  },
});

const read = tool("era_read_file", {
  title: "Read a file",
  description: "Reads a text file of a session's workspace. Pictures are answered as pictures.",
  input: z.strictObject({ session_id: sessionId, path, file_path }),
  output: z.object({ path: z.string(), content: z.string().nullable(), size: z.number() }),
  annotations: LOOKS,
  call: async ({ session_id: id, ...named }, api) => {
    const name = pathOf(named);
    const response = await accepted(api, { method: "GET", path: filePath(id, pathOf(named)) });
    const size = Number(response.headers.get("content-length"));
    const type = response.headers.get("content-type")?.split(";")[0] ?? "";
    if (size > MAX_READ_BYTES) {
      await response.body?.cancel();
      const text = `File: ${name}\n\nIt has ${byteSize(size)}: read a part of it with a program, or with GET ${filePath(id, name)}`;
      return { content: say(text), structure: { path: name, content: null, size } };
    }
    const bytes = Buffer.from(await response.arrayBuffer());
    const structure = { path: name, content: null, size };
    if (/^image\/(png|jpeg|gif|webp)$/.test(type))
      return { content: [{ type: "image", data: bytes.toString("base64"), mimeType: type }], structure };
    const text = textOf(bytes);
    if (text === null)
      return { content: say(`File: ${name}\n\nIt is no text: ${byteSize(size)} of ${type}`), structure };
    const shown = cut(text);
    return {
      content: say(`File: ${name}\n\nContent:\n${shown}`),
      structure: { ...structure, content: shown },
    };
  },
});

/** Null when it is not UTF-8. */
function textOf(bytes: Buffer): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** Relative to the workspace; the API says what is wrong with it. */
function pathOf(named: { path?: string | undefined; file_path?: string | undefined }): string {
  return (named.path ?? named.file_path ?? "").replace(/^(?:\/workspace)?\/+/, "");
}

export const FILE_TOOLS: readonly AnyTool[] = [upload, read, list];
