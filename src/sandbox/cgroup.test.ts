import assert from "node:assert/strict";
import { test } from "node:test";
import { planCgroup } from "./cgroup.ts";
import { findCgroupLayout } from "./cgroup-layout.ts";

const limits = {
  memoryBytes: 1 << 29,
  cpus: 1.5,
  pids: 128,
  openFiles: 1024,
  tmpBytes: 1,
  fileBytes: 1,
  mostFileBytes: 1,
};

test("a hybrid host is used by its v1 controllers", () => {
  const mounts = `
30 1 0:1 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
31 1 0:2 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 1 0:3 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
33 1 0:4 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw`;
  assert.deepEqual(findCgroupLayout("3:memory:/a\n2:cpu:/\n1:pids:/\n0::/\n", mounts), {
    version: 1,
    folders: { cpu: "/sys/fs/cgroup/cpu", memory: "/sys/fs/cgroup/memory/a", pids: "/sys/fs/cgroup/pids" },
  });
});

test("a tree that only counts processor time does not make a v2 host one of v1", () => {
  const mounts = `
30 1 0:1 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct
31 1 0:2 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw`;
  const layout = findCgroupLayout("5:cpuacct:/\n0::/x\n", mounts);
  assert.deepEqual(layout, { version: 2, top: "/sys/fs/cgroup/unified", own: "/sys/fs/cgroup/unified/x" });
});

test("a v2 host is used by its one tree, also from inside a container that sees a part of it", () => {
  const mounts = "30 1 0:1 /outer /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
  assert.deepEqual(findCgroupLayout("0::/outer/inner\n", mounts), {
    version: 2,
    top: "/sys/fs/cgroup",
    own: "/sys/fs/cgroup/inner",
  });
});

test("a host without cgroups has no layout", () => {
  assert.equal(findCgroupLayout("0::/\n", "30 1 0:1 / / rw - ext4 /dev/a rw"), null);
});

test("the same limits in the files of either version", () => {
  assert.deepEqual(planCgroup(2, limits), [
    ["memory", "memory.max", "536870912"],
    ["memory", "memory.swap.max", "0"],
    ["cpu", "cpu.max", "150000 100000"],
    ["pids", "pids.max", "128"],
  ]);
  assert.deepEqual(planCgroup(1, limits), [
    ["memory", "memory.limit_in_bytes", "536870912"],
    ["memory", "memory.swappiness", "0"],
    ["memory", "memory.kmem.tcp.limit_in_bytes", "33554432"],
    ["cpu", "cpu.cfs_period_us", "100000"],
    ["cpu", "cpu.cfs_quota_us", "150000"],
    ["pids", "pids.max", "128"],
  ]);
});
