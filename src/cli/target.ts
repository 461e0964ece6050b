/** The server that a command speaks with. */
import { type Config, ConfigError } from "../config.ts";
import type { Logger } from "../log.ts";
import { obtainImage } from "./image.ts";
import { startServer } from "./start-server.ts";

export type Target = { url: string; headers: Record<string, string> };
export type CommandContext = { config: Config; log: Logger; signal: AbortSignal };

const HEALTH_TIMEOUT_MS = 1_000;

/** The server asked for, else the one on the configured port, else a private one on the same data. */
export async function findServer(
  asked: string | undefined,
  { config, log, signal }: CommandContext,
  stack: AsyncDisposableStack,
): Promise<Target> {
  const headers: Record<string, string> =
    config.apiKey === undefined ? {} : { authorization: `Bearer ${config.apiKey}` };
  if (asked !== undefined) return { url: asked.replace(/\/+$/, ""), headers };
  const url = `http://${config.host}:${config.port}`;
  if (await isServer(url)) return { url, headers };
  const image = await obtainImage(config, signal);
  const server = stack.use(
    await startServer({ ...config, host: "127.0.0.1", port: 0, pool: new Map() }, image, log),
  );
  return { url: server.url, headers };
}

type Asked = {
  method: string;
  /** Sent as JSON. */
  body?: object;
  /** Sent as it is. */
  content?: ReadableStream<Uint8Array>;
  signal?: AbortSignal;
};

async function isServer(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/health`, { signal: AbortSignal.timeout(HEALTH_TIMEOUT_MS) });
    const body = (await response.json()) as { isolation?: unknown };
    return response.ok && body.isolation !== undefined;
  } catch {
    return false;
  }
}

export async function request(
  target: Target,
  path: string,
  { method, body, content, signal }: Asked,
): Promise<Response> {
  try {
    return await fetch(target.url + path, {
      method,
      headers: target.headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(content === undefined ? {} : { body: content, duplex: "half" as const }),
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (cause) {
    signal?.throwIfAborted();
    const { code } = ((cause as Error).cause ?? {}) as { code?: string };
    throw new ConfigError(`Cannot reach the server at '${target.url}': ${code ?? (cause as Error).message}`, {
      cause,
    });
  }
}
