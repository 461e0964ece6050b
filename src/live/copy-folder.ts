/** Copies a session's folder for a new session. */
import { runCommand } from "../lib/run-command.ts";
import { AppError } from "../protocol/errors.ts";
import type { Folder } from "./folder.ts";
import { folderProgram } from "./folder-program.ts";
import type { SandboxHost } from "./host.ts";

const TIMEOUT_MS = 300_000;
const NO_SPACE = "No space left on device";
/** The copy draws other random numbers than the original, and owes nobody the results of earlier runs. */
const SCRIPT = `set -eu
for part in workspace home state; do
  cp -a --reflink=auto "/mnt/source/$part/." "/mnt/copy/$part/"
done
rm -rf /mnt/copy/state/results /mnt/copy/state/reseed /mnt/copy/state/lock
mkdir -p /mnt/copy/state
: >/mnt/copy/state/reseed
if [ "$1" != - ]; then chown -hR "$1:$1" /mnt/copy/workspace /mnt/copy/home /mnt/copy/state; fi`;

export async function copyFolder(host: SandboxHost, source: Folder, copy: Folder): Promise<void> {
  const folders = [
    { source: source.root, target: "/mnt/source", isWritten: false },
    { source: copy.root, target: "/mnt/copy", isWritten: true },
  ];
  const argv = folderProgram(host, { script: SCRIPT, folders, uid: copy.uid });
  const { code, stderr } = await runCommand(argv, { timeoutMs: TIMEOUT_MS });
  if (code === 0) return;
  if (stderr.includes(NO_SPACE))
    throw new AppError("host_disk_full", "Cannot copy the session: the disk of this host is full");
  throw new AppError("sandbox_failed", `Cannot copy the session: ${stderr.trim().slice(0, 500)}`);
}
