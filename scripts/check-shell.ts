/** Shell scripts, read by shellcheck (Debian's). */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const files = ["src", "images", "deploy"].flatMap((folder) =>
  readdirSync(ROOT + folder, { recursive: true, encoding: "utf8" }).map((path) => `${folder}/${path}`),
);
const MAINTAINER = ["postinst", "prerm", "postrm"].map((name) => `deploy/debian/${name}`);
const scripts = ["era", ".ci/run", ...MAINTAINER, ...files.filter((path) => path.endsWith(".sh"))];
const { status, error } = spawnSync("shellcheck", scripts, { cwd: ROOT, stdio: "inherit" });
if (error !== undefined) console.error("Cannot read the shell scripts: install shellcheck");
console.log(`${scripts.length} scripts`);
process.exitCode = status ?? 1;
