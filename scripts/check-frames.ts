/**
 * The frames between server and agent: each has a sender and a reader, and a row in docs/guest-protocol.md. Exits with
 * 1 and a line for each offence.
 */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const read = (path: string) => readFileSync(ROOT + path, "utf8");
const all = (...folders: string[]) =>
  folders
    .flatMap((folder) => readdirSync(ROOT + folder).map((name) => `${folder}/${name}`))
    .filter((path) => /\.(ts|py|mjs)$/.test(path) && !path.endsWith(".test.ts"))
    .map(read)
    .join("\n");
const names = (text: string, pattern: RegExp) =>
  new Set([...text.matchAll(pattern)].map(([, name = ""]) => name));
const part = (text: string, from: string, to: string) => {
  const start = text.indexOf(from);
  return text.slice(start, text.indexOf(to, start));
};

const protocol = read("src/protocol/guest.ts");
const server = all("src/guest");
const agent = all("guest/agent", "guest/state");
const SENT = /"?type"?: "(\w+)"/g;
const agentReads = names(
  part(read("guest/agent/agent.py"), "self._requests = {", "\n        }"),
  /^ {12}"(\w+)":/gm,
);

/** What may be said each way, who says it, who hears it. */
const WAYS: Record<string, { frames: Set<string>; sent: Set<string>; read: Set<string> }> = {
  "server to agent": {
    frames: new Set([
      ...names(part(protocol, "export type ServerFrame", "RunFrame;"), /type: "(\w+)"/g),
      ...names(part(protocol, "export type RunFrame", "};"), /type: "(\w+)"/g),
    ]),
    sent: names(server, SENT),
    read: agentReads,
  },
  "agent to server": {
    frames: names(protocol, /type: z\.literal\("(\w+)"\)/g),
    sent: names(agent, SENT),
    read: new Set([...names(read("src/guest/channel.ts"), /case "(\w+)"/g)]),
  },
};

const faults: string[] = [];
const documented = read("docs/guest-protocol.md");
for (const [way, { frames, sent, read: heard }] of Object.entries(WAYS)) {
  for (const name of frames) {
    if (!sent.has(name)) faults.push(`${way}: nobody sends '${name}'`);
    if (!heard.has(name)) faults.push(`${way}: nobody reads '${name}'`);
    if (!documented.includes(`\`${name}\``)) faults.push(`docs/guest-protocol.md does not have '${name}'`);
  }
  for (const name of heard) if (!frames.has(name)) faults.push(`${way}: '${name}' is read, but is no frame`);
  console.log(`${way}: ${frames.size} frames`);
}
for (const fault of faults) console.error(fault);
process.exitCode = faults.length === 0 ? 0 : 1;
