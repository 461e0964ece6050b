import assert from "node:assert/strict";
import { test } from "node:test";
import { WholeText } from "./whole-text.ts";

test("text in any parts is the same, and a place is never inside of a character", () => {
  const text = "caf\u00e9 \u6f22\u5b57 \u{1f600} end";
  const bytes = Buffer.from(text);
  for (let first = 0; first <= bytes.length; first++)
    for (let second = first; second <= bytes.length; second++) {
      const texts = new WholeText();
      const parts = [
        [0, first],
        [first, second],
        [second, bytes.length],
      ].map(([from = 0, to = 0]) => {
        const said = texts.take("a", bytes.subarray(from, to), from);
        assert.equal(bytes.subarray(texts.placeBefore(to)).toString().includes("\ufffd"), false);
        return said;
      });
      assert.equal(parts.join(""), text);
      assert.deepEqual(texts.rest(), []);
    }
});

test("what is no UTF-8 is replaced, and what never became whole is there at the end", () => {
  const texts = new WholeText();
  assert.equal(texts.take("a", Buffer.from([0xff, 0x41, 0xc3]), 0), "\ufffdA");
  assert.equal(texts.take("b", Buffer.from("x"), 3), "x");
  assert.equal(texts.placeBefore(4), 2);
  assert.deepEqual(texts.rest(), [["a", "\ufffd"]]);
});
