/** A client that sends bytes as they are, one request after the other on one connection, and reads what comes. */
import { connect, type Socket } from "node:net";

/** Status 0: the connection was closed without an answer. */
export type RawAnswer = { status: number; body: string };

const MAX_BODY = 4 << 20;
const HEAD_END = "\r\n\r\n";
const CONTINUE = /^HTTP\/1\.1 100 [^\r]*\r\n\r\n/;

type Leaving = { leaveAfter?: number; leaveAfterMs?: number };

export class RawClient {
  readonly #port: number;
  readonly #patienceMs: number;
  #socket: Socket | null = null;

  constructor(url: string, patienceMs: number) {
    this.#port = Number(new URL(url).port);
    this.#patienceMs = patienceMs;
  }

  /** Rejects when nothing comes in time, but for a client that goes after so long, or after so many bytes. */
  send(
    bytes: Buffer,
    { leaveAfter = Number.POSITIVE_INFINITY, leaveAfterMs }: Leaving = {},
  ): Promise<RawAnswer> {
    const socket = this.#socket ?? connect(this.#port, "127.0.0.1");
    this.#socket = null;
    let said = "";
    return new Promise<RawAnswer>((resolve, reject) => {
      const end = (reusable: boolean) => {
        socket.removeAllListeners();
        socket.on("error", () => undefined);
        const answer = parseAnswer(said);
        if (reusable) this.#socket = socket;
        else socket.resetAndDestroy();
        resolve(answer);
      };
      socket.setTimeout(leaveAfterMs ?? this.#patienceMs, () => {
        if (leaveAfterMs !== undefined) return end(false);
        socket.resetAndDestroy();
        reject(
          new Error(`no answer in ${this.#patienceMs} ms to ${bytes.subarray(0, 300).toString("latin1")}`),
        );
      });
      socket.on("data", (chunk) => {
        said = (said + chunk.toString("latin1")).replace(CONTINUE, "");
        if (said.length >= leaveAfter || said.length > MAX_BODY) end(false);
        else if (isWhole(said))
          end(!/^connection: close\r$/im.test(said.slice(0, said.indexOf(HEAD_END) + 2)));
      });
      socket.on("error", () => end(false));
      socket.on("close", () => end(false));
      socket.write(bytes);
    });
  }

  close(): void {
    this.#socket?.resetAndDestroy();
  }
}

function parseAnswer(said: string): RawAnswer {
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(said)?.[1] ?? 0);
  const at = said.indexOf(HEAD_END);
  return { status, body: at < 0 ? "" : said.slice(at + HEAD_END.length) };
}

function isWhole(said: string): boolean {
  const at = said.indexOf(HEAD_END);
  if (at < 0) return false;
  const head = said.slice(0, at);
  if (/^HTTP\/1\.1 (204|304)/.test(head)) return true;
  const length = /^content-length: (\d+)/im.exec(head)?.[1];
  if (length !== undefined) return said.length >= at + HEAD_END.length + Number(length);
  return /^transfer-encoding: chunked/im.test(head) && said.endsWith("0\r\n\r\n");
}
