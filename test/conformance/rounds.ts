/**
 * The documented examples run against one started server: twice over the same data folder, with other session ids;
 * where asked for, also with a hibernation before each run, and with the server killed before each run.
 */
import { after, before, describe, test } from "node:test";
import type { Client } from "../support/client.ts";
import { makeDataDir, TestServer } from "../support/server.ts";

export type Example = (client: Client, name: (id: string) => string) => Promise<void>;
type Round = "first" | "second" | "hibernated" | "killed";

const PLAIN: readonly Round[] = ["first", "second"];
export const ONCE: readonly Round[] = ["first"];
export const BREAKS_ONLY: readonly Round[] = ["first", "hibernated", "killed"];
export const WITH_BREAKS: readonly Round[] = [...PLAIN, "hibernated", "killed"];

/** Examples by their id in the contract and what they show. */
export function conformance(
  title: string,
  examples: Record<string, Example>,
  rounds: readonly Round[] = PLAIN,
  /** Settings of the server, asked for before each start. */
  settings: () => Record<string, string> = () => ({}),
): void {
  const dataDir = makeDataDir();
  for (const round of rounds) {
    describe(`${title}, ${round}`, () => {
      let server: TestServer;
      let client: Client;
      before(async () => {
        server = await TestServer.start(settings(), dataDir);
        client = server.client;
        if (round === "hibernated") client.beforeRun = (path) => hibernate(client, path);
        if (round === "killed") client.beforeRun = killAndStart;
      });
      after(async () => {
        await server.stop();
        if (round === rounds.at(-1)) await server.removeData();
      });
      const killAndStart = async () => {
        await server.kill();
        server = await TestServer.start(settings(), dataDir);
        client.url = server.url;
      };
      for (const [id, example] of Object.entries(examples)) {
        test(id, () => example(client, (session) => `${session}-${round}`));
      }
    });
  }
}

async function hibernate(client: Client, path: string): Promise<void> {
  const { status } = await client.call("GET", path);
  if (status === 200) await client.expect(200, "POST", `${path}/hibernate`);
}
