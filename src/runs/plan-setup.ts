/** From what a client wants installed to the commands that do it, in order. Pure. */
import type { SetupRequest } from "../store/store.ts";

export type SetupStep = {
  /** As progress names it. */
  title: string;
  /** For a shell in the workspace. */
  command: string;
  env: Record<string, string>;
  /** What its success adds to the result. */
  adds: { list: "pip_packages" | "npm_packages" | "go_modules" | "commands_run"; items: string[] };
};

/** Downloads and builds take room: on the session's disk, not in its memory. */
const SCRATCH = "/root/.setup";
const NODE_HOME = "/root/.node";
const NPM = `npm install --no-progress --loglevel=error --cache ${SCRATCH}/npm`;
/** A line that names several packages and nothing else; pip takes one a line. */
const BARE_NAMES = /^[A-Za-z0-9._-]+(\s+[A-Za-z0-9._-]+)+$/;

export function planSetup(request: SetupRequest): SetupStep[] {
  const { pip, npm, go, commands, envs } = request;
  return [
    ...(pip === undefined ? [] : [pipStep(pip)]),
    ...(npm === undefined ? [] : [npmStep(npm)]),
    ...(go === undefined ? [] : [goStep(go)]),
    ...(commands ?? []).map((command) => ({
      title: command,
      command,
      env: envs ?? {},
      adds: { list: "commands_run" as const, items: [command] },
    })),
  ];
}

function pipStep(pip: NonNullable<SetupRequest["pip"]>): SetupStep {
  const lines = Array.isArray(pip) ? pip : requirementLines(pip.requirements);
  return {
    title: "pip install",
    ...inScratch(
      `printf '%s' "$SETUP_TEXT" >requirements.txt && python3 -m pip install --progress-bar off -r requirements.txt`,
      `${lines.join("\n")}\n`,
    ),
    adds: { list: "pip_packages", items: lines.filter((line) => !/^\s*(#|-|$)/.test(line)) },
  };
}

function requirementLines(text: string): string[] {
  return text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .flatMap((line) => (BARE_NAMES.test(line) ? line.split(/\s+/) : [line]))
    .filter((line) => line !== "");
}

function npmStep(npm: NonNullable<SetupRequest["npm"]>): SetupStep {
  const goThere = `mkdir -p ${NODE_HOME} && cd ${NODE_HOME}`;
  if (Array.isArray(npm)) {
    return {
      title: "npm install",
      ...inScratch(`${goThere} && ${NPM} -- ${npm.map(quote).join(" ")}`, ""),
      adds: { list: "npm_packages", items: npm },
    };
  }
  return {
    title: "npm install",
    ...inScratch(`${goThere} && printf '%s' "$SETUP_TEXT" >package.json && ${NPM}`, npm.packageJson),
    adds: { list: "npm_packages", items: dependenciesOf(npm.packageJson) },
  };
}

function dependenciesOf(packageJson: string): string[] {
  try {
    const { dependencies } = JSON.parse(packageJson) as { dependencies?: Record<string, string> };
    return Object.entries(dependencies ?? {}).map(([name, range]) => `${name}@${range}`);
  } catch {
    return []; // npm says what is wrong with it
  }
}

/** In the workspace, whose go.mod is the one that runs are built with. */
function goStep(go: NonNullable<SetupRequest["go"]>): SetupStep {
  const workspace = "cd /workspace && export GOTOOLCHAIN=local GOFLAGS=-mod=mod";
  if (Array.isArray(go)) {
    return {
      title: "go get",
      ...inScratch(
        `${workspace} && { [ -e go.mod ] || go mod init session; } && go get -- ${go.map(quote).join(" ")}`,
        "",
      ),
      adds: { list: "go_modules", items: go },
    };
  }
  return {
    title: "go mod download",
    ...inScratch(`${workspace} && printf '%s' "$SETUP_TEXT" >go.mod && go mod download`, go.goMod),
    adds: {
      list: "go_modules",
      items: requiredModules(go.goMod),
    },
  };
}

/** Lines `[require] path/of/module v1.2.3`, as `path/of/module@v1.2.3`. */
function requiredModules(goMod: string): string[] {
  return goMod.split("\n").flatMap((line) => {
    const words = line.trim().split(/\s+/);
    const [path = "", version = ""] = words[0] === "require" ? words.slice(1) : words;
    return path.includes("/") && /^v./.test(version) ? [`${path}@${version}`] : [];
  });
}

function inScratch(command: string, text: string): Pick<SetupStep, "command" | "env"> {
  return {
    command: `mkdir -p ${SCRATCH}/tmp && cd ${SCRATCH} && (${command}); code=$?; cd / && chmod -R u+w ${SCRATCH}; rm -rf ${SCRATCH}; exit $code`,
    env: { TMPDIR: `${SCRATCH}/tmp`, SETUP_TEXT: text },
  };
}

const quote = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
