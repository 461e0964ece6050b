/** Killed at random moments under load: nothing acknowledged is lost, nothing happens twice, nothing is half there. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { KillLoad, killAll, killServer } from "../support/kill-load.ts";

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
    kill: killServer,
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
