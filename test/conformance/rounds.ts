/** The documented examples run against one started server, twice over the same data folder, with other session ids. */
import { after, before, describe, test } from "node:test";
import type { Client } from "../support/client.ts";
import { makeDataDir, TestServer } from "../support/server.ts";

export type Example = (client: Client, name: (id: string) => string) => Promise<void>;

/** Examples by their id in the contract and what they show. */
export function conformance(title: string, examples: Record<string, Example>): void {
  const dataDir = makeDataDir();
  for (const round of ["first", "second"]) {
    describe(`${title}, ${round} time`, () => {
      let server: TestServer;
      before(async () => {
        server = await TestServer.start({}, dataDir);
      });
      after(async () => {
        await server.stop();
        if (round === "second") await server.removeData();
      });
      for (const [id, example] of Object.entries(examples)) {
        test(id, () => example(server.client, (session) => `${session}-${round}`));
      }
    });
  }
}
