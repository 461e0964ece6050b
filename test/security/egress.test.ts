/**
 * The way to the internet, against servers that stand for it: in network and mount namespaces that this test makes,
 * with public, private and metadata addresses on their loopback interface, and name servers of their own.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { ADDRESSES } from "../support/internet.ts";

const INSIDE = fileURLToPath(new URL("egress-inside.ts", import.meta.url));
const TIMEOUT_MS = 240_000;

test("in a network of its own", { timeout: TIMEOUT_MS }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "era-network-"));
  writeFileSync(join(folder, "resolv.conf"), "nameserver 127.0.0.1\n");
  const script = [
    "set -e",
    "ip link set lo up",
    ...Object.values(ADDRESSES).map((address) => `ip addr add ${address}/32 dev lo`),
    `mount --bind ${folder}/resolv.conf /etc/resolv.conf`,
    'exec "$@"',
  ].join("\n");
  const { NODE_TEST_CONTEXT: _context, ...env } = process.env;
  const child = spawn(
    "unshare",
    [
      ...["--net", "--mount", "sh", "-c", script, "sh", process.execPath],
      ...["--disable-warning=ExperimentalWarning", "--test", "--test-force-exit", INSIDE],
    ],
    { env, stdio: ["ignore", "pipe", "inherit"], timeout: TIMEOUT_MS, killSignal: "SIGKILL" },
  );
  let said = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  const [code] = await once(child, "exit");
  assert.equal(code, 0, said);
  assert.match(said, /^ℹ tests ([1-9]\d)$/m, "its tests have run");
});
