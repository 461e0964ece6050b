/**
 * What one run prints, in order. The guest is read into it at its own pace; readers take from it by place, which is the
 * number of characters before it: the same however the output came in parts, so also when it is heard again. A slow,
 * late or returning reader holds up nothing. Bounded by the run's output limit.
 */
import { displayed, type RunEventName, type StreamName } from "../protocol/guest.ts";
import type { OutputEvent } from "../store/store.ts";

/** `end`: the place right after it. */
type PlacedEvent = OutputEvent & { end: number };

const MAX_EVENT_CHARS = 64 << 10;
/** What is displayed beyond is in the results only, as is what is displayed later in the place of it. */
const MAX_DISPLAYED_BYTES = 9 << 20;
const MAX_DISPLAYED = 2_000;
const TOO_MUCH_DISPLAYED = `It has displayed more than ${MAX_DISPLAYED} values or ${MAX_DISPLAYED_BYTES >> 20} MiB: what it displays from now on is in its results only`;
const MAX_QUESTIONS = 1_000;
const MAX_PROMPT_BYTES = 1_024;

const isOutput = ({ stream }: OutputEvent) => stream === "stdout" || stream === "stderr";

export class OutputLog {
  readonly events: OutputEvent[] = [];
  readonly #decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  readonly #room: Record<StreamName, number>;
  #displayed = { bytes: 0, count: 0, isFull: false };
  #questions = 0;
  #wakeReaders = Promise.withResolvers<void>();
  #closed = false;
  /** Places where the events begin. */
  readonly #starts: number[] = [];
  #end = 0;
  /** The furthest place that a reader got to. */
  #taken = 0;

  constructor(limitBytes: number) {
    this.#room = { stdout: limitBytes, stderr: limitBytes };
  }

  /** Bytes of the guest; what is not UTF-8 is replaced, also when a character is split between two chunks. */
  append(name: RunEventName, chunk: Buffer): void {
    if (name === "display") this.#display(chunk);
    else if (name === "asks") this.#ask(chunk.subarray(0, MAX_PROMPT_BYTES).toString());
    else this.#print(name, chunk);
  }

  #print(stream: StreamName, chunk: Buffer): void {
    const kept = chunk.subarray(0, this.#room[stream]); // the agent keeps to the limit; a forged one does not
    this.#room[stream] -= kept.length;
    this.#add(stream, this.#decoders[stream].decode(kept, { stream: true }));
  }

  /** Something that is no result is nothing; a guest can have written it. */
  #display(content: Buffer): void {
    if (this.#displayed.isFull) return;
    const bytes = this.#displayed.bytes + content.length;
    const count = this.#displayed.count + 1;
    const isFull = count > MAX_DISPLAYED || bytes > MAX_DISPLAYED_BYTES;
    this.#displayed = { bytes, count, isFull };
    const json = content.toString();
    if (isFull) this.warn(TOO_MUCH_DISPLAYED);
    else if (isDisplayed(json)) this.#add("display", json);
  }

  /** Something that the server has to say of the run. */
  warn(message: string): void {
    if (!this.#closed) this.#add("warning", message);
  }

  #ask(prompt: string): void {
    this.#questions += 1;
    if (this.#questions <= MAX_QUESTIONS) this.#add("input", `${prompt}\n`);
    else if (this.#questions === MAX_QUESTIONS + 1)
      this.warn(
        `It has asked for input ${MAX_QUESTIONS} times: it is not told of any more, and may be given all the same`,
      );
  }

  close(): void {
    for (const stream of ["stdout", "stderr"] as const) this.#add(stream, this.#decoders[stream].decode());
    this.#closed = true;
    this.#wakeReaders.resolve();
  }

  text(stream: OutputEvent["stream"]): string {
    let text = "";
    for (const event of this.events) if (event.stream === stream) text += event.text;
    return text;
  }

  /** What comes after a place, as it comes, until the log is closed. Rejects when the signal fires. */
  async *read(after: number, signal: AbortSignal): AsyncGenerator<PlacedEvent> {
    const aborted = Promise.withResolvers<never>();
    aborted.promise.catch(() => undefined);
    const onAbort = () => aborted.reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      let place = after;
      for (let at = 0; ; ) {
        signal.throwIfAborted();
        const event = this.events[at];
        const start = this.#starts[at] ?? 0;
        if (event !== undefined && start + event.text.length > place) {
          const text = isOutput(event) ? event.text.slice(Math.max(0, place - start)) : event.text;
          place = start + event.text.length;
          this.#taken = Math.max(this.#taken, place);
          yield { ...event, text, end: place };
        } else if (at + 1 < this.events.length) at += 1;
        else if (this.#closed) return;
        else await Promise.race([this.#wakeReaders.promise, aborted.promise]);
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Joins what no reader has taken yet: a guest that prints byte by byte does not make as many events. */
  #add(stream: OutputEvent["stream"], text: string): void {
    if (text === "") return;
    const last = this.events.at(-1);
    const isUnread = this.#taken <= (this.#starts.at(-1) ?? 0);
    const isJoined = last?.stream === stream && isOutput(last) && last.text.length < MAX_EVENT_CHARS;
    if (last !== undefined && isUnread && isJoined) last.text += text;
    else {
      this.events.push({ stream, text });
      this.#starts.push(this.#end);
    }
    this.#end += text.length;
    const wake = this.#wakeReaders;
    this.#wakeReaders = Promise.withResolvers<void>();
    wake.resolve();
  }
}

function isDisplayed(json: string): boolean {
  try {
    return displayed.safeParse(JSON.parse(json)).success;
  } catch {
    return false;
  }
}
