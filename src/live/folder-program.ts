/**
 * How a shell script is run on folders of sessions. Their trees are hostile: the script and what it starts see nothing
 * but the image and the folders, so that no link in them, nor one that appears meanwhile, leads to anything else.
 */
import type { SandboxHost } from "./host.ts";

type FolderProgram = {
  script: string;
  /** Where each folder is seen below /mnt, and whether the script changes it. */
  folders: readonly { source: string; target: string; isWritten: boolean }[];
  /** Whose the result is: $1 of the script, `-` where all is the server's own user's. */
  uid: number;
};

/** It is run as a process group: bubblewrap leaves a process that waits for it when it is ended alone as it begins. */
export function folderProgram(host: SandboxHost, { script, folders, uid }: FolderProgram): string[] {
  const binds = folders.flatMap(({ source, target, isWritten }) => [
    isWritten ? "--bind" : "--ro-bind",
    source,
    target,
  ]);
  const rights = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"].flatMap((name) => ["--cap-add", name]);
  return [
    ...["bwrap", "--ro-bind", host.image.rootfs, "/", "--dev", "/dev", "--tmpfs", "/mnt"],
    ...[...binds, "--remount-ro", "/mnt"],
    ...["--unshare-pid", "--unshare-ipc", "--unshare-net", "--die-with-parent", "--clearenv"],
    ...(host.asRoot ? ["--cap-drop", "ALL", ...rights] : ["--unshare-user"]),
    ...["--setenv", "PATH", "/usr/bin:/bin", "--setenv", "LC_ALL", "C.UTF-8", "--chdir", "/mnt", "--"],
    ...["/bin/sh", "-c", script, "sh", host.asRoot ? String(uid) : "-"],
  ];
}
