/**
 * How sandboxes come to be and go: what the pool asks of a host. Tests script it; another kind of sandbox implements
 * it.
 */
import type { Cgroup } from "../sandbox/cgroup.ts";
import { adoptSandbox } from "./adopt.ts";
import type { Folder } from "./folder.ts";
import type { SandboxHost } from "./host.ts";
import { destroy, type LiveSandbox } from "./live-sandbox.ts";
import { type Resume, resumeSandbox } from "./resume.ts";
import { type Start, startPristine, startSandbox } from "./start.ts";

/** Each rejects leaving nothing of the sandbox behind. */
export type Launcher<S = LiveSandbox> = {
  /** With a folder of its own. */
  startPristine(start: Start): Promise<S>;
  start(folder: Folder, start: Start): Promise<S>;
  resume(resume: Resume): Promise<S>;
  adopt(folder: Folder, cgroup: Cgroup): Promise<S>;
  /** Ends a sandbox and removes its folder. */
  destroy(sandbox: S, reason: Error): Promise<void>;
};

export function hostLauncher(host: SandboxHost): Launcher {
  return {
    startPristine: (start) => startPristine(host, start),
    start: (folder, start) => startSandbox(host, folder, start),
    resume: (resume) => resumeSandbox(host, resume),
    adopt: (folder, cgroup) => adoptSandbox(host, folder, cgroup),
    destroy: (sandbox, reason) => destroy(host, sandbox, reason),
  };
}
