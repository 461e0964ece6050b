/** A session as one stream: its files, saved variables with their versions, settings, data, code and records. */
import { appendFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import type { Folder } from "../../live/folder.ts";
import type { SandboxHost } from "../../live/host.ts";
import { removeFolder } from "../../live/owned-folder.ts";
import { packFolder } from "../../live/pack-folder.ts";
import type { Store } from "../../store/store.ts";
import type { SessionView } from "../records.ts";
import { encodeRun, encodeSession } from "./session-file.ts";

const RUNS_A_PAGE = 200;

/** Where what is no file of a session lies beside it. */
export const metaDirOf = ({ run }: Folder): string => join(run, "meta");

/** The ids of all records that there are, oldest first. */
export async function endedRuns(store: Store, sessionId: string): Promise<string[]> {
  const ids: string[] = [];
  for (let cursor: string | null = null; ; ) {
    const page: Awaited<ReturnType<Store["listRuns"]>> = await store.listRuns(sessionId, {
      limit: RUNS_A_PAGE,
      cursor,
    });
    ids.push(...page.items.filter(({ state }) => state !== "queued").map(({ runId }) => runId));
    cursor = page.cursor;
    if (cursor === null) return ids.reverse();
  }
}

type Exported = { folder: Folder; view: SessionView; leftOut: readonly string[]; runIds: readonly string[] };

/** `folder` is a copy that nobody else uses; it goes with the stream. */
export async function exportSession(
  { host, store }: { host: SandboxHost; store: Store },
  { folder, view, leftOut, runIds }: Exported,
): Promise<Readable> {
  const metaDir = metaDirOf(folder);
  await mkdir(metaDir, { mode: 0o700 });
  await writeFile(join(metaDir, "session.json"), encodeSession(view, leftOut));
  const runs = join(metaDir, "runs.jsonl");
  await writeFile(runs, "");
  for (const id of runIds) {
    const run = await store.findRun(id); // null: it made room for a newer one meanwhile
    if (run !== null) await appendFile(runs, encodeRun(run));
  }
  const stream = await packFolder({ host, folder, metaDir });
  return stream.once("close", () => {
    removeFolder(host, folder).catch((error: unknown) =>
      host.log.warn({ err: error }, "the copy of an exported session was not removed"),
    );
  });
}
