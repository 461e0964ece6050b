/**
 * The HTTP API as tools use it, within the server or from another process: each call has its own key, and is checked
 * and counted like any other request.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { FastifyInstance } from "fastify";
import { refusalText } from "../api/refusal-text.ts";
import { AppError } from "../protocol/errors.ts";

export type ApiRequest = {
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  path: string;
  /** Sent as JSON. */
  body?: object;
  /** Sent as it is. */
  content?: string;
  /** Ends the request, and what it began as far as it says so. */
  signal?: AbortSignal;
};
export type Api = (request: ApiRequest) => Promise<Response>;

/** Refused by the API: what a model is to read. */
export class RefusedError extends Error {}

/** By the API, or before it was asked. */
export const isRefused = (error: unknown): error is Error =>
  error instanceof RefusedError || error instanceof AppError;

/** The JSON of an answer. */
export async function ask<T>(api: Api, request: ApiRequest): Promise<T> {
  const response = await accepted(api, request);
  return (await response.json()) as T;
}

export async function accepted(api: Api, request: ApiRequest): Promise<Response> {
  const response = await api(request);
  if (response.ok) return response;
  throw new RefusedError(refusalText(await response.text()));
}

/** The signal of the call that a request of this process was made for. */
const calls = new AsyncLocalStorage<AbortSignal>();

/** What is called back hangs up, as a client of its own would. */
export function hangUpWithCalls(app: FastifyInstance): void {
  app.addHook("onRequest", async ({ raw }, reply) => {
    const signal = calls.getStore();
    if (signal === undefined) return;
    raw.setTimeout = () => raw; // it has no connection that could stall
    const hangUp = () => reply.raw.destroy();
    signal.addEventListener("abort", hangUp, { once: true });
    reply.raw.once("close", () => signal.removeEventListener("abort", hangUp));
  });
}

/** The API of this process, with the key, and the server's name, of the request that a tool was called by. */
export function ownApi(app: FastifyInstance, caller: Headers | undefined): Api {
  const authorization = caller?.get("authorization") ?? null;
  const host = caller?.get("host") ?? "localhost";
  const headers = authorization === null ? { host } : { host, authorization };
  return async ({ method, path, body, content, signal = NEVER }) => {
    signal.throwIfAborted();
    const payload = body ?? content;
    const request = { method, url: path, headers, payloadAsStream: true as const };
    const asked = payload === undefined ? request : { ...request, payload };
    const response = await calls.run(signal, async () => await app.inject(asked)); // begun when it is awaited
    const told = Object.entries(response.headers).map(([name, value]): [string, string] => [
      name,
      String(value),
    ]);
    return new Response(streamOf(response.stream()), { status: response.statusCode, headers: told });
  };
}

const NEVER = new AbortController().signal;

/** Read as it is asked for; what ends its source ends it, too. */
function streamOf(source: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  return ReadableStream.from(source) as ReadableStream<Uint8Array>;
}
