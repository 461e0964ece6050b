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

test("of IPv6 only what is given to the internet is public", () => {
  for (const address of [
    "::7f00:1",
    "::a9fe:a9fe",
    "100:0:0:1::1",
    "4000::1",
    "fec0::1",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
  ])
    assert.equal(isPublic(address), false, address);
  for (const address of ["2606:4700:4700::1111", "2a00:1450:4001:81b::200e"])
    assert.equal(isPublic(address), true, address);
});
