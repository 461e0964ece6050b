/** The command line: which subcommand, with which settings, and what ends it. */
import { attackCommand } from "./cli/attack.ts";
import { backupCommand, restoreCommand } from "./cli/backup/backup.ts";
import { bench } from "./cli/bench.ts";
import { browse } from "./cli/browse.ts";
import { doctor } from "./cli/doctor.ts";
import { imageCommand } from "./cli/image.ts";
import { mcp } from "./cli/mcp.ts";
import { exportCommand, importCommand } from "./cli/move-session.ts";
import { run } from "./cli/run.ts";
import { test } from "./cli/test.ts";
import { up } from "./cli/up.ts";
import { type Config, ConfigError, parseConfig } from "./config.ts";
import { createLogger, type Logger } from "./log.ts";
import { AppError, withHint } from "./protocol/errors.ts";

type Command = { summary: string; run: (args: string[], context: Context) => Promise<number> };
type Context = { config: Config; log: Logger; signal: AbortSignal };

const COMMANDS: Readonly<Record<string, Command>> = {
  up: { summary: "serve", run: (_args, { config, log, signal }) => up(config, log, signal) },
  run: {
    summary: "run a program and print what it prints",
    run: (args, { config, log, signal }) => run(args, config, log, signal),
  },
  sessions: {
    summary: "list | show | sleep | delete  [--json]",
    run: (args, context) => browse("sessions", args, context),
  },
  runs: {
    summary: "list SESSION | show RUN  [--json]",
    run: (args, context) => browse("runs", args, context),
  },
  files: {
    summary: "list | get | put | delete  SESSION [PATH]",
    run: (args, context) => browse("files", args, context),
  },
  keys: { summary: "list | create | revoke", run: (args, context) => browse("keys", args, context) },
  logs: { summary: "what was done with which key", run: (args, context) => browse("logs", args, context) },
  export: {
    summary: "write a session to a file: SESSION [FILE]",
    run: (args, context) => exportCommand(args, context),
  },
  import: {
    summary: "make a session from such a file: FILE [--session ID]",
    run: (args, context) => importCommand(args, context),
  },
  backup: {
    summary: "save all sessions to a folder, only what is new: FOLDER [--keep COUNT]",
    run: (args, context) => backupCommand(args, context),
  },
  restore: {
    summary: "make sessions from such a folder: FOLDER [SESSION...] [--backup NAME] | --list",
    run: (args, context) => restoreCommand(args, context),
  },
  setup: {
    summary: "build the image that sandboxes stand on, once",
    run: (_args, { config, signal }) => imageCommand(["build"], config, signal),
  },
  doctor: {
    summary: "what this host enforces, and what it cannot",
    run: (_args, { config, log }) => doctor(config, log),
  },
  mcp: {
    summary: "the tools of a model over standard input and output [--server URL]",
    run: mcp,
  },
  attack: {
    summary: "attack fresh sandboxes of this host, and say what held",
    run: (_args, { config, log, signal }) => attackCommand(config, log, signal),
  },
  image: {
    summary: "build | list | prune",
    run: (args, { config, signal }) => imageCommand(args, config, signal),
  },
  bench: {
    summary: "measure, beside peers [runs | persistence | ways] [--quick] [--no-peer] [--json FILE]",
    run: (args) => bench(args),
  },
  test: {
    summary: "run every check, or those named",
    run: (args, { config, signal }) => test(args, config, signal),
  },
};

async function main([name = "help", ...args]: string[]): Promise<number> {
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) {
    for (const [known, { summary }] of Object.entries(COMMANDS))
      console.log(`  ./era ${known.padEnd(8)} ${summary}`);
    return name === "help" || name === "--help" ? 0 : 2;
  }
  const config = parseConfig(process.env);
  const log = createLogger(config.logLevel);
  // A bug in one request must not end the sessions of all others.
  process.on("unhandledRejection", (reason) => log.error({ err: reason }, "a failure that nobody handled"));
  return command.run(args, { config, log, signal: stopSignal() });
}

class StoppedError extends Error {}

/** Fires on the first SIGINT or SIGTERM; a second one does not wait for the orderly end. */
function stopSignal(): AbortSignal {
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (stop.signal.aborted) process.exit(1);
      stop.abort(new StoppedError(`stopped by ${signal}`));
    });
  }
  return stop.signal;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const expected = [ConfigError, AppError, StoppedError].some((kind) => error instanceof kind);
  const isUsage = String((error as { code?: unknown }).code).startsWith("ERR_PARSE_ARGS");
  const hint = error instanceof AppError ? error.hint : undefined;
  console.error(expected || isUsage ? withHint((error as Error).message, hint) : error);
  process.exitCode = isUsage ? 2 : 1;
}
