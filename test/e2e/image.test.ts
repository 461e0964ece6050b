/** Building the image: one at a time, whole or not at all, and gone when nothing needs it. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { removeTree } from "../../src/lib/remove-tree.ts";
import { makeDataDir, TestServer, until } from "../support/server.ts";

const ERA = fileURLToPath(new URL("../../era", import.meta.url));
const home = makeDataDir();
const images = join(home, "images");
const env = { ...process.env, ERA_HOME: home };
const era = (...args: string[]) => spawn(ERA, args, { env, stdio: ["ignore", "pipe", "pipe"] });
const isBuilding = () =>
  existsSync(images) && readdirSync(images).some((name) => name.startsWith(".building"));
after(() => removeTree(home));

test("an interrupted build leaves nothing half-made", async () => {
  const build = era("image", "build");
  await until("it has begun", isBuilding, 30_000);
  build.kill("SIGINT");
  const [code] = await once(build, "exit");
  assert.equal(code, 1);
  assert.deepEqual(readdirSync(images), [".lock"]);
});

test(
  "two builds at once, after one that was killed half-way, make one image",
  { timeout: 900_000 },
  async () => {
    const killed = era("image", "build");
    await until("it has begun", isBuilding, 30_000);
    killed.kill("SIGKILL");
    await once(killed, "exit");
    const builds = [era("image", "build"), era("image", "build")];
    const said = builds.map(async (build) => {
      let text = "";
      build.stderr.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
      const [code] = await once(build, "close");
      return { code, text };
    });
    const [first, second] = await Promise.all(said);
    assert.deepEqual([first?.code, second?.code], [0, 0], `${first?.text}${second?.text}`);
    assert.match(`${first?.text}${second?.text}`, /waiting for another build to end/);
    assert.equal(readdirSync(images).length, 2, "the lock and one image");
  },
);

test("prune spares what a running server stands on, also before it has a sandbox", async () => {
  const server = await TestServer.start({ ERA_HOME: home, ERA_POOL: "python=0" });
  const other = { ...env, ERA_IMAGE_PACKAGES: "jq" };
  assert.match(spawnSync(ERA, ["image", "prune"], { env: other, encoding: "utf8" }).stdout, /in use/);
  await server.client.session("s").prints("1\n", "print(1)");
  assert.match(spawnSync(ERA, ["image", "prune"], { env: other, encoding: "utf8" }).stdout, /in use/);
  await server.client.session("s").prints("2\n", "print(2)");
  await server.stop();
  await server.removeData();
});

test("prune removes an image that the recipe does not ask for", () => {
  const other = { ...env, ERA_IMAGE_PACKAGES: "jq" };
  assert.match(spawnSync(ERA, ["image", "list"], { env, encoding: "utf8" }).stdout, /current/);
  assert.doesNotMatch(spawnSync(ERA, ["image", "list"], { env: other, encoding: "utf8" }).stdout, /current/);
  assert.match(spawnSync(ERA, ["image", "prune"], { env: other, encoding: "utf8" }).stdout, /removed/);
  assert.deepEqual(readdirSync(images), [".lock"]);
});
