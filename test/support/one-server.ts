/** One server for the tests of a file; it must end in order and leave nothing behind. */
import { after, before } from "node:test";
import type { Client } from "./client.ts";
import { TestServer } from "./server.ts";

export type OneServer = { readonly server: TestServer; readonly client: Client };

export function oneServer(env: Record<string, string> = {}): OneServer {
  let server: TestServer | undefined;
  const running = () => {
    if (server === undefined) throw new Error("the server is not started yet");
    return server;
  };
  before(async () => {
    server = await TestServer.start(env);
  });
  after(async () => {
    await running().stop();
    await running().removeData();
  });
  return {
    get server() {
      return running();
    },
    get client() {
      return running().client;
    },
  };
}
