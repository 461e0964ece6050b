import assert from "node:assert/strict";
import { test } from "node:test";
import { Preload } from "./preload.ts";

test("what programs import often is prepared, what they import seldom, or not any more, is not", () => {
  const preload = new Preload(null);
  assert.deepEqual(preload.modules, []);
  preload.note("python", "import pandas as pd\nprint(1)");
  assert.deepEqual(preload.modules, ["pandas"]);
  for (let at = 0; at < 40; at++) preload.note("python", "print(1)");
  assert.deepEqual(preload.modules, []);
  for (let at = 0; at < 40; at++) preload.note("python", "x = 1\nfrom matplotlib import pyplot as plt");
  assert.deepEqual(preload.modules, ["matplotlib.pyplot"]);
  for (let at = 0; at < 600; at++) preload.note("python", "x = 'import numpy'");
  assert.deepEqual(preload.modules, []);
});

test("other languages, and long programs, cost nothing; what is named is what there is", () => {
  const preload = new Preload(null);
  preload.note("node", "import pandas");
  preload.note("python", `${"#".repeat(5_000)}\nimport numpy`);
  preload.note("python", "import a\n".repeat(1_000_000));
  assert.deepEqual(preload.modules, []);
  const fixed = new Preload(["pandas"]);
  fixed.note("python", "import numpy");
  assert.deepEqual(fixed.modules, ["pandas"]);
});
