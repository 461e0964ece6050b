import assert from "node:assert/strict";
import { test } from "node:test";
import { planLaunch } from "./plan.ts";
import { guestEnvironment, type SandboxPolicy } from "./policy.ts";

const policy: SandboxPolicy = {
  rootfs: "/image",
  guestDir: "/guest",
  skeleton: "/skeleton",
  folders: { workspace: "/s/workspace", state: "/s/state", home: "/s/home", run: "/s/run" },
  caBundle: "/ca.pem",
  limits: {
    memoryBytes: 1 << 29,
    cpus: 1,
    pids: 128,
    openFiles: 1024,
    tmpBytes: 1 << 26,
    fileBytes: 1 << 30,
    mostFileBytes: 2 ** 31,
  },
  env: guestEnvironment(1, { pip: undefined, npm: undefined, go: undefined }, 7),
  command: ["/agent"],
};
const asRoot = planLaunch(policy, { asRoot: true, cgroupFolders: ["/cg/memory/x", "/cg/pids/x"] });
const asUser = planLaunch(policy, { asRoot: false, cgroupFolders: [] });

function follows(argv: readonly string[], ...parts: string[]): boolean {
  return argv.some((_, at) => parts.every((part, offset) => argv[at + offset] === part));
}

test("containment is in order: limits, cgroups, user, namespaces, mounts, environment, capabilities, filter, command", () => {
  const marks = [
    "/cg/pids/x",
    "nsenter",
    "bwrap",
    "--unshare-pid",
    "--unshare-net",
    "--ro-bind",
    "--clearenv",
    "--cap-drop",
    "--seccomp",
    "/agent",
  ];
  const places = marks.map((mark) => asRoot.argv.indexOf(mark));
  assert.ok(!places.includes(-1), String(places));
  assert.deepEqual(
    places,
    [...places].sort((a, b) => a - b),
  );
});

test("only the session's workspace, home and state can be written", () => {
  const binds = asRoot.argv.flatMap((word, at) =>
    word === "--bind" ? [[asRoot.argv[at + 1], asRoot.argv[at + 2]]] : [],
  );
  assert.deepEqual(binds, [
    ["/s/state", "/run/era-state"],
    ["/s/workspace", "/workspace"],
    ["/s/home", "/root"],
  ]);
  assert.ok(follows(asRoot.argv, "--ro-bind", "/image", "/"));
  assert.ok(
    follows(
      asRoot.argv,
      "--ro-bind",
      "/s/run",
      "/run/era",
      "--bind",
      "/s/state",
      "/run/era-state",
      "--remount-ro",
      "/run",
    ),
  );
});

test("memory file systems have a size", () => {
  for (const at of asRoot.argv.keys()) {
    if (asRoot.argv[at] === "--tmpfs")
      assert.ok(asRoot.argv.slice(at - 4, at).includes("--size"), asRoot.argv[at + 1]);
  }
});

test("as root there is one user namespace, made before; otherwise bubblewrap makes it and dies with the server", () => {
  assert.ok(!asRoot.argv.includes("--unshare-user") && asRoot.needsUserNamespace);
  assert.ok(!asRoot.argv.includes("--die-with-parent"));
  const unfindable = planLaunch(policy, { asRoot: true, cgroupFolders: [] });
  assert.ok(unfindable.argv.includes("--die-with-parent"), "no later server could find it");
  assert.ok(
    asUser.argv.includes("--unshare-user") &&
      asUser.argv.includes("--die-with-parent") &&
      !asUser.needsUserNamespace,
  );
  assert.ok(!asUser.argv.includes("nsenter"));
});

test("a guest's environment is what is named, and nothing of the server's", () => {
  assert.ok(asRoot.argv.includes("--clearenv"));
  const names = asRoot.argv.flatMap((word, at) => (word === "--setenv" ? [asRoot.argv[at + 1]] : []));
  assert.deepEqual(names, Object.keys(policy.env));
});
