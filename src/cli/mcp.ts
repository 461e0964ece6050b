/**
 * `era mcp`: the tools over standard input and output, for clients that start their servers themselves: those of a
 * server that runs, or of a private one.
 */
import { parseArgs } from "node:util";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import type { Api } from "../mcp/api.ts";
import { createMcpServer } from "../mcp/server.ts";
import { type CommandContext, findServer, type Target } from "./target.ts";
import { readVersion } from "./version.ts";

export async function mcp(args: readonly string[], context: CommandContext): Promise<number> {
  const { values } = parseArgs({ args: [...args], options: { server: { type: "string" } } });
  await using stack = new AsyncDisposableStack();
  const target = await findServer(values.server, context, stack);
  const api = remoteApi(target);
  const ended = Promise.withResolvers<void>();
  const handle = serveStdio(() => createMcpServer(readVersion(), () => api), {
    onerror: (error) => context.log.warn({ err: error }, "a message could not be answered"),
  });
  process.stdin.once("end", () => ended.resolve());
  process.stdin.once("close", () => ended.resolve());
  context.signal.addEventListener("abort", () => ended.resolve(), { once: true });
  await ended.promise;
  await handle.close();
  return 0;
}

function remoteApi({ url, headers }: Target): Api {
  return async ({ method, path, body, content, signal }) => {
    const sent = body === undefined ? content : JSON.stringify(body);
    return await fetch(url + path, {
      method,
      headers,
      ...(sent === undefined ? {} : { body: sent }),
      ...(signal === undefined ? {} : { signal }),
    });
  };
}
