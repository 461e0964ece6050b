/** How many answers the tests' servers have compared with the API's declarations, and of which operations none. */
import { existsSync, readFileSync } from "node:fs";
import { OPERATIONS } from "../api/table.ts";

type Compared = { answers: number; operations: number; missing: readonly string[] };

/** Reads what servers with ERA_CHECK_ANSWERS have appended: lines with an operation, a status and a count. */
export function comparedAnswers(path: string): Compared {
  const lines = existsSync(path) ? readFileSync(path, "utf8").split("\n").filter(Boolean) : [];
  const rows = lines.map((line) => line.split(" "));
  const answered = new Set(rows.filter(([, status = ""]) => status < "400").map(([id]) => id));
  return {
    answers: rows.reduce((sum, [, , count]) => sum + Number(count), 0),
    operations: answered.size,
    missing: OPERATIONS.map(({ id }) => id).filter((id) => !answered.has(id)),
  };
}
