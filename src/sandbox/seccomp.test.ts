import assert from "node:assert/strict";
import { test } from "node:test";
import { seccompPolicy } from "./seccomp.ts";

test("no call is both allowed and denied, and none is listed twice", () => {
  const { allow, deny, allowWhen } = seccompPolicy();
  const all = [...allow, ...deny, ...new Set(allowWhen.map(({ call }) => call))];
  assert.deepEqual(
    all.filter((name, at) => all.indexOf(name) !== at),
    [],
  );
});

test("clone is allowed only without new namespaces, and clone3, whose flags no filter sees, is on no list", () => {
  const { allow, deny, allowWhen } = seccompPolicy();
  assert.ok(![...allow, ...deny].includes("clone3") && !allow.includes("clone"));
  const [clone] = allowWhen.filter(({ call }) => call === "clone");
  const namespaces = [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];
  for (const flag of namespaces)
    assert.notEqual(Number(clone?.conditions[0]?.mask) & flag, 0, flag.toString(16));
});
