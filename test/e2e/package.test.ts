/** The Debian package: made from this checkout, installed, started as its unit starts it, and removed. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { TestServer } from "../support/server.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const SLEEPING = 50;
const folder = mkdtempSync(join(tmpdir(), "era-test-"));

function run(file: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(file, args, { encoding: "utf8", maxBuffer: 64 << 20 });
  assert.equal(status, 0, `${file} ${args.join(" ")}: ${stdout}${stderr}`);
  return stdout;
}

before(
  () => {
    assert.equal(existsSync("/opt/era-agent"), false, "the package is installed here already");
    run("sh", join(ROOT, "deploy/debian/build.sh"), folder);
  },
  { timeout: 300_000 },
);
after(() => {
  spawnSync("dpkg", ["--remove", "--force-all", "era-agent"]);
  rmSync("/var/lib/dpkg/info/era-agent.postrm", { force: true }); // which would take this machine's image with it
  spawnSync("dpkg", ["--purge", "--force-all", "era-agent"]);
  rmSync(folder, { recursive: true, force: true });
});

test(
  `it is installed, wakes ${SLEEPING} sessions of the server before it, and is removed`,
  { timeout: 300_000 },
  async () => {
    const [deb = ""] = readdirSync(folder).filter((name) => name.endsWith(".deb"));
    assert.match(run("dpkg-deb", "--field", join(folder, deb), "Depends"), /bubblewrap, mmdebstrap/);
    const contents = run("dpkg-deb", "--contents", join(folder, deb));
    assert.doesNotMatch(
      contents,
      /era-agent\/(?:src\/.*\.test\.ts|node_modules\/(?:typescript|pyright|@biomejs)\/)/,
      "nothing of the checks is in it",
    );

    const before = await TestServer.start({ ERA_POOL: "python=0" });
    for (let at = 0; at < SLEEPING; at++) {
      const session = await before.client.create(`s${at}`, { language: at % 5 === 0 ? "bash" : "python" });
      await session.run(`x=${at}`);
    }
    await before.stop();

    run("dpkg", "--install", join(folder, deb));
    const unit = readFileSync("/lib/systemd/system/era-agent.service", "utf8");
    const [command = "", ...args] = (/^ExecStart=(.*)$/m.exec(unit)?.[1] ?? "").split(" ");
    for (const line of ["Type=notify", "Delegate=yes", "StateDirectory=era", "Restart=on-failure"])
      assert.ok(unit.includes(line), line);
    assert.match(run("era", "--help"), /serve/);
    const server = await TestServer.startCommand(
      [command, ...args],
      { ERA_POOL: "python=0" },
      before.dataDir,
    );
    for (let at = 0; at < SLEEPING; at++)
      await server.client.session(`s${at}`).prints(`${at}\n`, at % 5 === 0 ? "echo $x" : "print(x)");
    await server.stop();
    await server.removeData();
    run("dpkg", "--remove", "era-agent");
    assert.equal(existsSync("/opt/era-agent/era"), false);
    assert.ok(existsSync("/etc/default/era-agent"), "settings stay until it is purged");
  },
);
