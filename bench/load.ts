/** A small HTTP client on kept connections, and loops that are bounded in count or time. */
import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

export class LoadClient {
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 64 });
  readonly #url: URL;
  readonly #headers: Readonly<Record<string, string>>;

  constructor(url: string, headers: Readonly<Record<string, string>> = {}) {
    this.#url = new URL(url);
    this.#headers = headers;
  }

  /** Sends JSON; rejects unless the answer is 2xx. */
  call(method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
    const payload = body === undefined ? "" : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const request = http.request(
        {
          agent: this.#agent,
          host: this.#url.hostname,
          port: this.#url.port,
          method,
          path,
          headers: { ...this.#headers, "content-length": Buffer.byteLength(payload) },
        },
        (response) => {
          let text = "";
          response.setEncoding("utf8").on("data", (chunk: string) => {
            text += chunk;
          });
          response.on("end", () => {
            if ((response.statusCode ?? 500) < 300) resolve(JSON.parse(text));
            else reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`));
          });
        },
      );
      request.on("error", reject);
      request.end(payload);
    });
  }

  run(id: string, code = "x = 1", language?: string): Promise<Record<string, unknown>> {
    return this.call("POST", `/api/sessions/${id}/run`, {
      code,
      ...(language === undefined ? {} : { language }),
    });
  }

  execute(code = "x = 1"): Promise<Record<string, unknown>> {
    return this.call("POST", "/api/execute", { code, language: "python" });
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** Milliseconds of each of `count` calls, one after the other. */
export async function timeEach(count: number, act: (at: number) => Promise<unknown>): Promise<number[]> {
  const samples: number[] = [];
  for (let at = 0; at < count; at++) {
    const startedAt = performance.now();
    await act(at);
    samples.push(performance.now() - startedAt);
  }
  return samples;
}

export type Sustained = { samples: number[]; perSecond: number };

/** As many calls as `clients` make one after the other in a time. */
export async function sustain(
  clients: number,
  seconds: number,
  act: (client: number) => Promise<unknown>,
): Promise<Sustained> {
  const samples: number[] = [];
  const startedAt = performance.now();
  const end = startedAt + seconds * 1000;
  const client = async (number: number) => {
    while (performance.now() < end) {
      const callAt = performance.now();
      await act(number);
      samples.push(performance.now() - callAt);
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, number) => client(number)));
  return { samples, perSecond: (samples.length / (performance.now() - startedAt)) * 1000 };
}

/** So many calls, shared among `clients`. */
export async function sustainCount(
  count: number,
  clients: number,
  act: (at: number) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  const client = async () => {
    while (next < count) await act(next++);
  };
  await Promise.all(Array.from({ length: clients }, client));
}

/** Waits until as many sandboxes are warm as the pool keeps. */
export async function warmedUp(client: LoadClient, size: number): Promise<void> {
  for (let attempt = 0; attempt < 2_000; attempt++) {
    const health = (await client.call("GET", "/health")) as { sandboxes: { warm: number } };
    if (health.sandboxes.warm >= size) return;
    await sleep(5);
  }
  throw new Error("the pool does not fill");
}
