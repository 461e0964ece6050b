import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError, parseConfig, unknownSettings } from "./config.ts";

test("settings have defaults, PORT counts when ERA_PORT is not given, and empty ones are absent", () => {
  const config = parseConfig({ PORT: "9000", ERA_HOME: "/h", ERA_CPUS: "" });
  assert.deepEqual(
    [config.host, config.port, config.dataDir, config.limits.cpus],
    ["127.0.0.1", 9000, "/h/data", 1],
  );
  assert.equal(parseConfig({ PORT: "9000", ERA_PORT: "1" }).port, 1);
});

test("an address that others reach needs a key", () => {
  assert.throws(() => parseConfig({ ERA_HOST: "0.0.0.0" }), ConfigError);
  assert.equal(parseConfig({ ERA_HOST: "0.0.0.0", ERA_API_KEY: "long-enough" }).host, "0.0.0.0");
  for (const host of ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
    assert.equal(parseConfig({ ERA_HOST: host }).host, host);
});

test("a wrong setting is refused by name", () => {
  for (const [name, value] of [
    ["ERA_PORT", "x"],
    ["ERA_MEMORY_MIB", "1"],
    ["ERA_POOL", "python"],
    ["ERA_AUTO_CREATE", "maybe"],
  ] as const) {
    assert.throws(
      () => parseConfig({ [name]: value }),
      (error) => error instanceof ConfigError && error.message.includes(name),
    );
  }
});

test("names that look like settings and are none are found", () => {
  const env = { ERA_PROT: "1", ERA_PORT: "1", ERA_TEST_SEED: "1", OTHER: "1" };
  assert.deepEqual(unknownSettings(env), ["ERA_PROT"]);
});
