/** Holds a sandbox to its session's quotas of disk while it lives. */
import type { DiskMonitor, Reading, Watched } from "./disk-monitor.ts";
import { measuredFolders } from "./folder.ts";
import type { LiveSandbox } from "./live-sandbox.ts";
import type { Service } from "./services.ts";

/** `onExceeded` is called as the monitor says, with the sandbox that it is about. */
export function diskService(
  monitor: DiskMonitor,
  { quota, stateBytes }: { quota: Watched["quota"]; stateBytes: number },
  onExceeded: (live: LiveSandbox, message: string, reading: Reading) => void,
): Service {
  return async (first) => {
    const watchedOf = (live: LiveSandbox, excess: Watched["excess"]): Watched => ({
      ...measuredFolders(live.folder, stateBytes),
      quota,
      pids: () => live.sandbox.cgroup?.pids() ?? [],
      excess,
      onExceeded: (message, reading) => onExceeded(live, message, reading),
    });
    let watched = watchedOf(first, null);
    monitor.watch(watched);
    return {
      // What stands still does not grow, but what was known of it still counts.
      freeze: async () => undefined,
      thaw: async (live) => {
        monitor.unwatch(watched);
        watched = watchedOf(live, watched.excess);
        monitor.watch(watched);
      },
      [Symbol.asyncDispose]: async () => monitor.unwatch(watched),
    };
  };
}
