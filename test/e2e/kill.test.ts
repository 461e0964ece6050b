/** Killed at random moments under load: nothing acknowledged is lost, nothing happens twice, nothing is half there. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { KillLoad } from "../support/kill-load.ts";
import type { TestServer } from "../support/server.ts";

/** `./era test` kills a few times; the long form sets ERA_TEST_KILLS. */
const KILLS = Number(process.env.ERA_TEST_KILLS ?? 8);
const LOAD = {
  sessions: 20,
  clients: 8,
  // Fewer slots than sessions, so that some sleep at any moment.
  settings: { ERA_MAX_LIVE: "14", ERA_POOL: "python=1", ERA_IDLE_SECONDS: "1" },
};

test(`the server is killed ${KILLS} times`, { timeout: KILLS * 30_000 }, async (context) => {
  const { server, account } = await KillLoad.run({
    ...LOAD,
    kills: KILLS,
    durability: "async",
    checkFiles: true,
    kill: (running) => running.kill(),
  });
  context.diagnostic(JSON.stringify(account));
  assert.equal(account.lost, 0, "sandboxes outlive their server: no run can be lost");
  await server.stop();
  await server.removeData();
});

test(`everything is killed at once ${KILLS / 2} times`, { timeout: KILLS * 30_000 }, async (context) => {
  const { server, account } = await KillLoad.run({
    ...LOAD,
    kills: KILLS / 2,
    durability: "sync",
    checkFiles: false,
    kill: killAll,
  });
  context.diagnostic(JSON.stringify(account));
  await server.stop();
  await server.removeData();
});

/** The server first, so that it sees nothing of the end of the others. */
async function killAll(server: TestServer): Promise<void> {
  const gone = server.kill();
  for (let pids = server.processes(); pids.length > 0; pids = server.processes()) {
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // it ended with another
      }
    }
  }
  await gone;
}
