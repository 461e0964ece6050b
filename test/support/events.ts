/** Server-sent events as a strict parser reads them, each with the time at which it was whole. */
import assert from "node:assert/strict";

export type SentEvent = { event: string; id: string; data: Record<string, unknown>; atMs: number };

const FIELD = /^(event|id|data): (.*)$/;

export async function* readEvents(response: Response): AsyncGenerator<SentEvent> {
  assert.match(response.headers.get("content-type") ?? "", /^text\/event-stream/);
  let text = "";
  const decoder = new TextDecoder("utf-8", { fatal: true });
  for await (const chunk of response.body as ReadableStream<Uint8Array>) {
    text += decoder.decode(chunk, { stream: true });
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      yield parse(text.slice(0, end));
      text = text.slice(end + 2);
    }
  }
  assert.equal(text, "", "the stream ended inside of an event");
}

function parse(block: string): SentEvent {
  const fields: Record<string, string> = {};
  for (const line of block.split("\n")) {
    const [, name = "", value = ""] = FIELD.exec(line) ?? assert.fail(`no field of an event: '${line}'`);
    assert.ok(!(name in fields), `two fields '${name}'`);
    fields[name] = value;
  }
  return {
    event: fields.event ?? "message",
    id: fields.id ?? "",
    data: JSON.parse(fields.data ?? "{}"),
    atMs: performance.now(),
  };
}

/** Streams a run to its end. */
export async function streamRun(url: string, body: object): Promise<SentEvent[]> {
  const response = await fetch(`${url}/stream`, { method: "POST", body: JSON.stringify(body) });
  assert.equal(response.status, 200);
  return Array.fromAsync(readEvents(response));
}

export const textOf = (events: readonly SentEvent[], name: string) =>
  events
    .filter(({ event }) => event === name)
    .map(({ data }) => String(data.content))
    .join("");
