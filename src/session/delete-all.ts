/** The end of every session of a key, or of all. */
import { AppError } from "../protocol/errors.ts";
import type { Page, SessionSummary } from "../store/store.ts";
import type { SessionRegistry } from "./registry.ts";

const BATCH = 100;
const WIDTH = 8;

/** Deletes those that are there when it begins; answers their ids. `keyId` is null for all. */
export async function deleteAllSessions(registry: SessionRegistry, keyId: string | null): Promise<string[]> {
  const ids: string[] = [];
  const filter = { keyId, language: null, metadata: {}, only: null, not: null };
  for (let cursor: string | null = null; ; ) {
    const page: Page<SessionSummary> = await registry.list({ limit: BATCH, cursor }, filter);
    ids.push(...page.items.map((row) => row.id));
    cursor = page.cursor;
    if (cursor === null) break;
  }
  const left = [...ids];
  const worker = async () => {
    for (let id = left.pop(); id !== undefined; id = left.pop()) {
      await registry.delete(id).catch((error: unknown) => {
        if (!(error instanceof AppError) || error.code !== "session_not_found") throw error;
      });
    }
  };
  await Promise.all(Array.from({ length: WIDTH }, worker));
  return ids;
}
