import assert from "node:assert/strict";
import { test } from "node:test";
import { pathPattern } from "./path-pattern.ts";

const FITS: [pattern: string, fitting: string[], others: string[]][] = [
  ["*.png", ["a.png", ".png", "é.png"], ["a.png.txt", "out/a.png", "a.PNG", ""]],
  ["out/**", ["out/a", "out/a/b/c"], ["a", "outer/a"]],
  ["**", ["a", "a/b", ".hidden"], []],
  ["**/*.csv", ["a.csv", "x/y/a.csv"], ["a.csv/x", "acsv"]],
  ["a/**/z", ["a/z", "a/b/c/z"], ["a/z/b", "z"]],
  ["?.txt", ["a.txt", "💡.txt"], ["ab.txt", ".txt", "/.txt"]],
  ["[a].{b}+(c)", ["[a].{b}+(c)"], ["a.b", "a.c"]],
  ["a*b*c", ["abc", "aXbYc", "abbcbc"], ["ab", "acb", "abcd"]],
];

test("patterns fit the paths that they say, and nothing else", () => {
  for (const [pattern, fitting, others] of FITS) {
    const isFit = pathPattern(pattern);
    assert.deepEqual([...fitting, ...others].filter(isFit), fitting, pattern);
  }
});

test("no pattern takes long", () => {
  const path = "a".repeat(1_000);
  const nested = "a/".repeat(500);
  const begun = performance.now();
  for (const pattern of ["*a", "**/a/", "*"].map((part) => `${part.repeat(40)}b`))
    assert.deepEqual([path, nested].map(pathPattern(pattern)), [false, false], pattern);
  const took = performance.now() - begun;
  assert.ok(took < 1_000, `${took} ms`);
});
