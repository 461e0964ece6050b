/** `era up`: serves until it is told to stop. */
import { type Config, unknownSettings } from "../config.ts";
import { runCommand } from "../lib/run-command.ts";
import type { Logger } from "../log.ts";
import { obtainImage } from "./image.ts";
import { startServer } from "./start-server.ts";

const NOTIFY_MS = 5_000;

export async function up(config: Config, log: Logger, signal: AbortSignal): Promise<number> {
  for (const name of unknownSettings(process.env))
    console.error(`Nothing is set by ${name}: there is no such setting; docs/settings.md lists them`);
  const image = await obtainImage(config, signal);
  await using server = await startServer(config, image, log);
  const weak = server.facilities.filter(({ state }) => state !== "enforced").map(({ name }) => name);
  const note = weak.length === 0 ? "" : `  (weaker here: ${weak.join(", ")}; see ./era doctor)`;
  console.log(
    `ERA Agent listens on ${server.url}${note}  try: ${exampleFor(server.url, config.apiKey !== undefined)}`,
  );
  await tellSystemd(log);
  if (!signal.aborted)
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  return 0;
}

/** A unit of the type `notify` counts as started from here on. */
async function tellSystemd(log: Logger): Promise<void> {
  if (process.env.NOTIFY_SOCKET === undefined) return;
  try {
    await runCommand(["systemd-notify", "--ready", `--pid=${process.pid}`], { timeoutMs: NOTIFY_MS });
  } catch (error) {
    log.warn({ err: error }, "systemd could not be told that the server is ready");
  }
}

function exampleFor(url: string, withKey: boolean): string {
  const key = withKey ? ` -H "Authorization: Bearer $ERA_API_KEY"` : "";
  return `curl -s ${url}/api/sessions/demo/run${key} -d '{"code":"x = 41; print(x + 1)"}'`;
}
