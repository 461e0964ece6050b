/** What a tree was like at one moment, down to the last change of each file, in one short text. */
import { runCommand } from "../lib/run-command.ts";

const TIMEOUT_MS = 120_000;
/** Type, mode, size, change of content or attributes, number, name. Links are not followed. */
const FORMAT = "%y %m %s %C@ %i %P\\0";
const SCRIPT = `set -eu
format=$1
shift
{ find "$@" -xdev -mindepth 1 -printf "$format" || echo failed; } | sha256sum`;

/** Rejects when a tree cannot be read. Equal texts mean that nothing was changed in between, renamed or written. */
export async function fingerprint(folders: readonly string[]): Promise<string> {
  const argv = ["/bin/sh", "-c", SCRIPT, "sh", FORMAT, ...folders];
  const { code, stdout, stderr } = await runCommand(argv, { timeoutMs: TIMEOUT_MS });
  if (code !== 0 || stderr !== "") throw new Error(`Cannot read a tree: ${stderr.trim().slice(0, 300)}`);
  return stdout.split(" ")[0] ?? "";
}
