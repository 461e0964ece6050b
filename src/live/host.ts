/** What every sandbox of this server is made with. */
import type { Config } from "../config.ts";
import type { EgressGateway } from "../egress/gateway.ts";
import type { Image } from "../image/find.ts";
import type { GuestRuntime } from "../image/runtime.ts";
import type { Places } from "../lib/descriptors.ts";
import type { RetryLater } from "../lib/retry-later.ts";
import type { Logger } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import type { CgroupTree } from "../sandbox/cgroup.ts";
import type { Criu } from "../sandbox/snapshot/criu.ts";
import type { UidRange } from "../sandbox/uids.ts";
import type { Preload } from "./preload.ts";

export type SandboxHost = {
  config: Config;
  log: Logger;
  metrics: Metrics;
  image: Image;
  runtime: GuestRuntime;
  caBundle: string | null;
  cgroups: CgroupTree | null;
  uids: UidRange;
  egress: EgressGateway;
  preload: Preload;
  /** What could not be removed at once. */
  leftovers: RetryLater;
  /** For connections that come out of sandboxes. */
  guestPlaces: Places;
  /** Makes and restores snapshots of processes; null where that cannot be done. */
  criu: Criu | null;
  snapshots: SnapshotSupport;
  asRoot: boolean;
  /** Known to the servers of this data folder, one after the other, and to nobody else. */
  secret: string;
};

/** Whether snapshots of processes can be made and restored here, and how that is known. */
export type SnapshotSupport = { supported: boolean; detail: string };
