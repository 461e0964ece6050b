/** Debian's promtool, which reads rules and metrics as Prometheus does: the installed one, or one of its package. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

let found: string | null = null;

/** Its answer; throws when it is not content. */
export function promtool(args: readonly string[], input = ""): string {
  found ??= findIt();
  const { status, stdout, stderr, error } = spawnSync(found, args, { input, encoding: "utf8" });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`promtool ${args.join(" ")}: ${stdout}${stderr}`);
  return `${stdout}${stderr}`;
}

function findIt(): string {
  if (spawnSync("promtool", ["--version"]).status === 0) return "promtool";
  const folder = mkdtempSync(join(tmpdir(), "era-test-"));
  run(["apt-get", "download", "prometheus"], folder);
  const [deb = ""] = readdirSync(folder);
  run(["dpkg-deb", "-x", deb, "unpacked"], folder);
  return join(folder, "unpacked/usr/bin/promtool");
}

function run([file = "", ...args]: readonly string[], cwd: string): void {
  const { status, stderr } = spawnSync(file, args, { cwd, encoding: "utf8" });
  if (status !== 0) throw new Error(`${file} ${args.join(" ")}: ${stderr}`);
}
