/** Server-sent events as this server writes them: the data of each is one line of JSON. */
export async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<unknown> {
  for await (const line of linesOf(body))
    if (line.startsWith("data: ")) yield JSON.parse(line.slice("data: ".length));
}

async function* linesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>;
  let pending = "";
  for await (const text of body.pipeThrough(decoder)) {
    const lines = (pending + text).split("\n");
    pending = lines.pop() ?? "";
    yield* lines;
  }
}
