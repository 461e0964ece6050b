/**
 * What sessions need of a host, for tests that start no sandbox: a data folder of its own, the test's own user, real
 * stores.
 */
import { mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseConfig } from "../../src/config.ts";
import { EgressGateway } from "../../src/egress/gateway.ts";
import { Places } from "../../src/lib/descriptors.ts";
import { RetryLater } from "../../src/lib/retry-later.ts";
import { sessionsDir } from "../../src/live/folder.ts";
import type { SandboxHost } from "../../src/live/host.ts";
import { Preload } from "../../src/live/preload.ts";
import { createLogger } from "../../src/log.ts";
import { Metrics } from "../../src/metrics.ts";
import { UidRange } from "../../src/sandbox/uids.ts";
import type { PlaceStore } from "../../src/store/places.ts";
import { openSqliteStores } from "../../src/store/sqlite/open.ts";
import type { Store } from "../../src/store/store.ts";

export type BareHost = AsyncDisposable & { host: SandboxHost; store: Store; places: PlaceStore };

/** `settings`: as environment variables. A second one on the same data folder comes after the first was disposed of. */
export function openBareHost(
  settings: Record<string, string> = {},
  dataDir = mkdtempSync(join(tmpdir(), "era-host-")),
): BareHost {
  const log = createLogger("silent");
  const config = parseConfig({ ERA_DATA_DIR: dataDir, ERA_HOME: dataDir, ...settings });
  mkdirSync(sessionsDir(dataDir), { recursive: true });
  const guestPlaces = new Places(100);
  const host: SandboxHost = {
    config,
    log,
    metrics: new Metrics(),
    preload: new Preload([]),
    image: { name: "none", dir: "/nonexistent", rootfs: "/nonexistent", builtAt: "" },
    runtime: { dir: "/nonexistent", seccompPath: "/nonexistent", skeleton: "/nonexistent" },
    caBundle: null,
    cgroups: null,
    uids: new UidRange(config.uidBase, [], 0),
    egress: new EgressGateway([], guestPlaces, log),
    leftovers: new RetryLater(1_000),
    guestPlaces,
    criu: null,
    snapshots: { supported: false, detail: "a test" },
    asRoot: false,
    secret: "secret",
  };
  const stores = openSqliteStores({ path: join(dataDir, "era.db"), ...config });
  return {
    host,
    ...stores,
    [Symbol.asyncDispose]: async () => {
      host.leftovers[Symbol.dispose]();
      await stores.store[Symbol.asyncDispose]();
    },
  };
}
