/** The agent's phases, as its own Python has them: every pair is a legal move, or a fault that names both ends. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

const WALK = `import json, sys
sys.path.insert(0, "guest/agent")
sys.dont_write_bytecode = True
from phase import MOVES, Phase
found = {}
for start in MOVES:
    for end in MOVES:
        phase = Phase()
        phase.name = start
        try:
            phase.move(end)
            assert phase == end and phase.name == end
            found[f"{start} {end}"] = None
        except RuntimeError as error:
            assert phase == start, "a move that was refused changes nothing"
            found[f"{start} {end}"] = str(error)
print(json.dumps({"found": found, "moves": MOVES}))`;

test("every pair of phases is a legal move or a fault that names both ends", () => {
  const text = execFileSync("python3", ["-c", WALK], {
    cwd: new URL("../../", import.meta.url),
    encoding: "utf8",
  });
  const { found, moves } = JSON.parse(text) as {
    found: Record<string, string | null>;
    moves: Record<string, string[]>;
  };
  const names = Object.keys(moves);
  assert.equal(Object.keys(found).length, names.length ** 2);
  for (const from of names) {
    for (const to of names) {
      const isLegal = moves[from]?.includes(to) === true;
      const fault = `the agent cannot go from '${from}' to '${to}'`;
      assert.equal(found[`${from} ${to}`], isLegal ? null : fault);
    }
  }
  // Whatever it does, it comes back to where it can take a request.
  for (const from of names) assert.ok(from === "idle" || moves[from]?.includes("idle"), from);
});
