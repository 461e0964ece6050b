/** The stores in one SQLite file, held by one server at a time. */
import type { PlaceStore } from "../places.ts";
import type { Store } from "../store.ts";
import { answerTables } from "./answers.ts";
import { Database } from "./database.ts";
import { egressTables } from "./egress.ts";
import { keyTables } from "./keys.ts";
import { placeTables } from "./places.ts";
import { type RecordLimits, runTables } from "./runs.ts";
import { sessionTables } from "./sessions.ts";

type SqliteOptions = { path: string } & RecordLimits;

/** Opens or creates the file. Throws when another server holds it. */
export function openSqliteStores({ path, ...limits }: SqliteOptions): { store: Store; places: PlaceStore } {
  const database = new Database(path);
  const store = {
    ...sessionTables(database),
    ...runTables(database, limits),
    ...answerTables(database, limits.recordBytes),
    ...egressTables(database),
    ...keyTables(database),
    [Symbol.asyncDispose]: async () => database[Symbol.dispose](),
  };
  return { store, places: placeTables(database) };
}
