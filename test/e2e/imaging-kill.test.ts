/**
 * Killed at random moments of imaging and restoring, under load: what is found afterwards is the live sandbox, the
 * image or the saved state, never none and never two, and nothing that was acknowledged is lost.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { KillLoad, killAll, killServer } from "../support/kill-load.ts";
import { type TestServer, until } from "../support/server.ts";

/** `./era test` kills a few times; the long form sets ERA_TEST_KILLS. */
const KILLS = Number(process.env.ERA_TEST_KILLS ?? 9);
const SETTINGS = { ERA_MAX_LIVE: "6", ERA_POOL: "python=0", ERA_LOG_LEVEL: "error" };

test(
  `the server, CRIU, or everything is killed ${KILLS} times`,
  { timeout: KILLS * 60_000 },
  async (context) => {
    let round = 0;
    const kinds = { server: 0, criu: 0, all: 0 };
    const { server, account } = await KillLoad.run({
      sessions: 6,
      clients: 4,
      kills: KILLS,
      settings: SETTINGS,
      durability: "sync",
      checkFiles: false,
      imaged: true,
      kill: async (running) => {
        const kind = (["server", "criu", "all"] as const)[round++ % 3] ?? "all";
        kinds[kind] += 1;
        if (kind === "criu") return killCriu(running);
        await whenImaging(running);
        return kind === "all" ? killAll(running) : killServer(running);
      },
    });
    context.diagnostic(JSON.stringify({ ...account, ...kinds }));
    assert.ok(account.slept > KILLS, "sessions were put to sleep");
    for (const row of (await server.client.expect(200, "GET", "/api/sessions?limit=100")).sessions)
      await server.client.session(row.id).delete();
    await until("no image is left", () => readdirSync(`${server.dataDir}/images`).length === 0);
    await server.stop();
    assert.deepEqual(criuProcesses(server), []);
    assert.ok(!readFileSync("/proc/self/mountinfo", "utf8").includes("/era-criu-"));
    await server.removeData();
  },
);

/** Half of the kills come while CRIU works, as far as that can be met. */
async function whenImaging(server: TestServer): Promise<void> {
  if (Math.random() < 0.5) return;
  for (let look = 0; look < 300 && criuProcesses(server).length === 0; look++)
    await new Promise((resolve) => setTimeout(resolve, 2));
}

async function killCriu(server: TestServer): Promise<{ serverGoesOn: boolean }> {
  for (let killed = 0, look = 0; killed === 0 && look < 500; look++) {
    for (const pid of criuProcesses(server)) {
      killed += 1;
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // it has come to its end
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  return { serverGoesOn: true };
}

/** Host pids of CRIU at work for this server. */
function criuProcesses(server: TestServer): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
        return command.includes("sbin/criu") && command.includes(`${server.dataDir}/images`);
      } catch {
        return false;
      }
    });
}
