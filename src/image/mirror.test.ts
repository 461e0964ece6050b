import assert from "node:assert/strict";
import { test } from "node:test";
import { sourcesFromTargets } from "./mirror.ts";

const targets = `
http://security.test/debian-security/ Debian bookworm-security
http://mirror.test/debian/ Debian bookworm-updates
http://mirror.test/debian/ Debian bookworm
http://other.test/ Vendor bookworm`;

test("the image comes from the mirrors that the host's apt uses, with security updates", () => {
  assert.deepEqual(sourcesFromTargets(targets, "trixie"), [
    "deb http://mirror.test/debian/ trixie main",
    "deb http://security.test/debian-security/ trixie-security main",
  ]);
});

test("a host that knows no Debian mirror leaves the choice to mmdebstrap", () => {
  assert.deepEqual(sourcesFromTargets("http://other.test/ Vendor stable\n", "trixie"), []);
});
