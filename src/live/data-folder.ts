/** The data folder as sandboxes need it, and the secret by which agents know its servers. */
import { randomBytes } from "node:crypto";
import { constants, statSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ConfigError } from "../config.ts";
import { checkSocketPath, sessionsDir } from "./folder.ts";

const SECRET_FILE = "secret";

/** Makes it, if it is not there. Throws ConfigError where sandboxes could not work in it. */
export async function openDataFolder(dataDir: string, rootfs: string, asRoot: boolean): Promise<void> {
  checkSocketPath(dataDir);
  await mkdir(sessionsDir(dataDir), { recursive: true, mode: 0o711 });
  if (asRoot) for (const path of [dataDir, rootfs]) checkReachable(path);
}

/** What an agent proves itself with to a later server of the same data folder. */
export async function readSecret(dataDir: string): Promise<string> {
  const path = join(dataDir, SECRET_FILE);
  try {
    const secret = randomBytes(32).toString("hex");
    await writeFile(path, secret, { mode: 0o600, flag: "wx" });
    return secret;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return readFile(path, "utf8");
  }
}

/** Sandboxes enter as users of their own: each folder above must let others pass. */
function checkReachable(path: string): void {
  for (let folder = path; folder !== "/"; folder = dirname(folder)) {
    if ((statSync(folder).mode & constants.S_IXOTH) !== 0) continue;
    throw new ConfigError(
      `Cannot use '${path}': sandboxes have users of their own, and '${folder}' lets no other user pass`,
    );
  }
}
