/**
 * Programs that others wrote give the same answers in one process, and asleep, copied or killed between any two steps;
 * or what is different was named. ERA_TEST_PROGRAMS=all takes all there are.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { oneServer } from "../support/one-server.ts";
import { type Between, Comparer, type Difference } from "./compare.ts";
import { bashPrograms, nodePrograms, type Program, type Programs, pythonPrograms } from "./sources.ts";

const it = oneServer({ ERA_POOL: "python=2,node=2,bash=2" });
const ALL = process.env.ERA_TEST_PROGRAMS === "all";
const WIDTH = 3;

/** What is known to be different, and is documented: by program and step. */
const DOCUMENTED: readonly (readonly [program: RegExp, code: RegExp, why: string])[] = [
  [/tutorial\/errors/, /raise ExceptionGroup/, "an exception comes back without its traceback"],
  [/whatsnew\/3\.8/, /mean\(data=/, "the code of a function of a library was replaced"],
  [/reference\/datamodel/, /len/, "a metaclass prints whenever anybody asks for anything of its classes"],
  [
    /library\/traceback/,
    /another_function/,
    "frames of the kernel are shown, which may begin in another way",
  ],
  [
    /library\/(time|sched|timeit|random)|tutorial\/stdlib\./,
    /./,
    "answers depend on the clock, or on chance",
  ],
];

const isDocumented = ({ program, code }: Difference) =>
  DOCUMENTED.some(([name, text]) => name.test(program) && text.test(code));

/** Whole programs, spread over all, until they have so many steps together. */
function sample(programs: readonly Program[], steps: number): Program[] {
  if (ALL) return [...programs];
  const total = programs.reduce((sum, program) => sum + program.steps.length, 0);
  const every = Math.max(1, Math.floor(total / (steps * 1.1)));
  const chosen: Program[] = [];
  let left = steps;
  for (let first = 0; first < every && left > 0; first++)
    for (let at = first; at < programs.length && left > 0; at += every) {
      chosen.push(programs[at] as Program);
      left -= programs[at]?.steps.length ?? 0;
    }
  return chosen;
}

async function compareAll(all: Programs, least: number, between: readonly Between[]): Promise<void> {
  const comparer = new Comparer(it.client, all);
  const pending = sample(all.programs, least);
  const total = { programs: pending.length, steps: 0, unstable: 0, named: 0, documented: 0 };
  const silent: Difference[] = [];
  const worker = async () => {
    for (let program = pending.shift(); program !== undefined; program = pending.shift()) {
      const found = await comparer.compare(program, between);
      total.steps += found.steps;
      total.unstable += found.unstable;
      total.named += found.named;
      total.documented += found.silent.filter(isDocumented).length;
      silent.push(...found.silent.filter((difference) => !isDocumented(difference)));
    }
  };
  await Promise.all(Array.from({ length: WIDTH }, worker));
  console.log(`${all.language}, ${between.join(" and ")}: ${JSON.stringify(total)}`);
  assert.deepEqual(silent, []);
  assert.ok(total.steps >= least, `${total.steps} steps`);
}

const LONG = { timeout: ALL ? 3_600_000 : 300_000 };

test("python: asleep, copied and killed between any two steps", LONG, async () => {
  await compareAll(await pythonPrograms(it.client), 1_000, ["sleep", "copy", "sleep", "kill"]);
});

test("node: asleep, copied and killed between any two steps", LONG, async () => {
  await compareAll(nodePrograms(), 500, ["sleep", "copy", "sleep", "kill"]);
});

test("bash: asleep, copied and killed between any two steps", LONG, async () => {
  await compareAll(bashPrograms(), 100, ["sleep", "copy", "sleep", "kill"]);
});
