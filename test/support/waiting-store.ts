/**
 * `era up` over a store that really waits: each call takes up to ERA_TEST_WAIT_MS, so that those of different sessions
 * are answered in any order. Those of one session are in order only if the server sees to it.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { obtainImage } from "../../src/cli/image.ts";
import { openStores, startServer } from "../../src/cli/start-server.ts";
import { parseConfig } from "../../src/config.ts";
import { createLogger } from "../../src/log.ts";

const MAX_MS = Number(process.env.ERA_TEST_WAIT_MS ?? 20);

/** A half of the waiting is before, the other half after the call. */
function waiting<T extends object>(store: T): T {
  return new Proxy(store, {
    get(target, name, receiver) {
      const method: unknown = Reflect.get(target, name, receiver);
      if (typeof method !== "function") return method;
      return async (...args: unknown[]) => {
        await sleep((Math.random() * MAX_MS) / 2);
        const answer: unknown = await Reflect.apply(method, target, args);
        await sleep((Math.random() * MAX_MS) / 2);
        return answer;
      };
    },
  });
}

const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());
const config = parseConfig(process.env);
const log = createLogger(config.logLevel);
process.on("unhandledRejection", (reason) => log.error({ err: reason }, "a failure that nobody handled"));
const image = await obtainImage(config, stop.signal);
await using server = await startServer(config, image, log, (settings) => {
  const { store, places } = openStores(settings);
  return { store: waiting(store), places: waiting(places) };
});
console.log(`ERA Agent listens on ${server.url}`);
if (!stop.signal.aborted)
  await new Promise((resolve) => stop.signal.addEventListener("abort", resolve, { once: true }));
