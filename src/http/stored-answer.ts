/**
 * A request to a session in which nothing listens: its stored code runs once, told of the request in its environment.
 */
import type { IncomingHttpHeaders } from "node:http";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { FastifyRequest } from "fastify";
import { AppError } from "../protocol/errors.ts";
import { RUN_DEFAULTS, type Run } from "../runs/request.ts";
import type { Session } from "../session/session.ts";
import { isAnswerHeader } from "./headers.ts";

type Answer = { status: number; headers: Record<string, string>; body: string };
/** What the program printed; or a connection, when it has begun to listen, and answers by itself. */
type StoredAnswer = ({ answer: Answer } | { connection: Socket }) & { requestBody: Buffer };

type StoredAnswerOptions = {
  path: string;
  headers: IncomingHttpHeaders;
  bodyBytes: number;
  /** To the port that was asked for; null while nobody listens there. */
  connect: () => Promise<Socket | null>;
};

const LOOK_MS = 250;

/** Linux passes no longer variable to a program; what is longer would stop it from starting any. */
const MAX_VARIABLE_BYTES = 120 << 10;
const HEADER_NAME = /^[A-Za-z0-9-]{1,100}$/;
const REFUSED_HEADERS = new Set(["content-length", "set-cookie"]);

export async function answerByStoredCode(
  session: Session,
  request: FastifyRequest,
  { path, headers, bodyBytes, connect }: StoredAnswerOptions,
): Promise<StoredAnswer> {
  const { code } = session.row;
  if (code === null)
    throw new AppError("no_code", `Cannot answer: nothing listens in '${session.id}', and no code is stored`);
  const maxBytes = Math.min(bodyBytes, MAX_VARIABLE_BYTES);
  const requestBody = await readBody(request, maxBytes);
  const text = requestBody.toString().replaceAll("\0", "");
  refuseTooLarge(Buffer.byteLength(text), maxBytes); // what is not UTF-8 has grown
  const [pathname = "/", query = ""] = path.split(/(?=\?)/, 2);
  const run = session.start({
    ...RUN_DEFAULTS,
    code: code.code,
    env: {
      ERA_REQUEST_MODE: "proxy",
      ERA_HTTP_METHOD: request.method,
      ERA_HTTP_PATH: pathname,
      ERA_HTTP_QUERY: query,
      ERA_HTTP_HEADERS: JSON.stringify(headers),
      ERA_HTTP_BODY: text,
    },
    baseUrl: `${request.protocol}://${request.host}`,
  });
  const connection = await listening(run, connect);
  if (connection !== null) return { connection, requestBody };
  const { row, log } = await run.result;
  const exitCode = row.summary?.outcome.exitCode ?? 1;
  const answer = answerOf(log.text("stdout"), exitCode, log.text("stderr"));
  return { answer, requestBody };
}

/** Looks for a program that listens while its run goes on, as servers do, and once more when it has ended. */
async function listening(run: Run, connect: StoredAnswerOptions["connect"]): Promise<Socket | null> {
  let hasEnded = false;
  const end = () => {
    hasEnded = true;
  };
  const ended = run.result.then(end, end);
  while (!hasEnded) {
    await Promise.race([ended, sleep(LOOK_MS)]);
    const connection = await connect();
    if (connection !== null) return connection;
  }
  return null;
}

async function readBody(request: FastifyRequest, maxBytes: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const chunk of request.raw as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size <= maxBytes) parts.push(chunk);
  }
  refuseTooLarge(size, maxBytes);
  return Buffer.concat(parts);
}

function refuseTooLarge(size: number, maxBytes: number): void {
  if (size <= maxBytes) return;
  throw new AppError("body_too_large", `Cannot pass on a body of ${size} bytes: at most ${maxBytes}`);
}

/** What a program printed, as an answer: a JSON object says status and headers itself, all else is text. */
function answerOf(stdout: string, exitCode: number, stderr: string): Answer {
  const value = parseObject(stdout);
  if (value === null) {
    const headers = { "content-type": "text/plain; charset=utf-8" };
    if (exitCode === 0) return { status: 200, headers, body: stdout };
    return { status: 500, headers, body: stdout === "" ? stderr : stdout };
  }
  const { status, contentType, headers: extra } = value;
  const isStatus = typeof status === "number" && Number.isInteger(status) && status >= 200 && status <= 599;
  const headers = { "content-type": "application/json; charset=utf-8", ...headersOf(extra) };
  if (typeof contentType === "string" && isHeader("content-type", contentType))
    headers["content-type"] = contentType;
  return { status: isStatus ? status : 200, headers, body: stdout.trim() };
}

function headersOf(value: unknown): Record<string, string> {
  if (typeof value !== "object" || value === null) return {};
  const found = Object.entries(value).filter(([name, text]) => isHeader(name, text));
  return Object.fromEntries(found.map(([name, text]) => [name.toLowerCase(), String(text)]));
}

function isHeader(name: string, text: unknown): boolean {
  const known = name.toLowerCase();
  if (!HEADER_NAME.test(name) || REFUSED_HEADERS.has(known) || !isAnswerHeader(known)) return false;
  return (
    (typeof text === "string" || typeof text === "number") && /^[\t\x20-\x7e]{0,4096}$/.test(String(text))
  );
}

function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null;
  } catch {
    return null;
  }
}
