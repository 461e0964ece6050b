import assert from "node:assert/strict";
import { test } from "node:test";
import { isPublic, plainAddress } from "./egress.ts";

test("an address has one form, in which it is compared and dialled", () => {
  assert.equal(plainAddress("::ffff:1.2.3.4"), "1.2.3.4");
  assert.equal(plainAddress("::ffff:102:304"), "1.2.3.4");
  assert.equal(plainAddress("2001:DB8:0::1"), "2001:db8::1");
  assert.equal(plainAddress("example.org"), "example.org");
});

test("what belongs to a cloud's platform is not public, in no form", () => {
  for (const address of ["168.63.129.16", "::ffff:168.63.129.16", "169.254.169.254"])
    assert.equal(isPublic(address), false, address);
  assert.equal(isPublic("168.63.129.17"), true);
});
