import { readFile } from "node:fs/promises";
import type { Cgroup } from "./cgroup.ts";

/** The host's number of the process that is the first one inside a sandbox. */
export async function firstProcess(cgroup: Cgroup): Promise<number> {
  for (const pid of cgroup.pids()) {
    const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
    if (/^NSpid:\t\d+\t1$/m.test(status)) return pid;
  }
  throw new Error("the sandbox has no first process");
}
