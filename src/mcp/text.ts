/** What a model reads of a run: its layout, cut to what a context bears, and never without saying so. */
import type { CallToolResult } from "@modelcontextprotocol/server";

const HEAD_CHARS = 12_000;
const TAIL_CHARS = 8_000;
const MAX_IMAGES = 10;
const MAX_IMAGE_CHARS = 4 << 20;
const PICTURES = [
  ["png", "image/png"],
  ["jpeg", "image/jpeg"],
] as const;

type RichResult = { main: boolean; text: string; png?: string; jpeg?: string };
export type Ran = {
  exit_code: number | null;
  stdout: string;
  stderr: string;
  duration: string | null;
  outcome: string;
  results: readonly RichResult[];
  run_id?: string | undefined;
  /** Bytes beyond what the server keeps of a run's output. */
  truncated?: { stdout?: number; stderr?: number; results?: number } | undefined;
  warnings?: readonly string[] | undefined;
  /** It goes on. */
  isRunning?: boolean;
};

type Content = CallToolResult["content"];

/** `Exit Code`, `Stdout`, `Stderr`, `Displayed`, `Result`, `Duration`: those that there are; pictures after them. */
export function contentOf(ran: Ran): Content {
  const whole = [ran.stdout, ran.stderr].some(isCut);
  return [
    { type: "text", text: layout(ran) },
    ...pictures(ran.results),
    ...(whole && ran.run_id !== undefined ? [linkTo(ran.run_id)] : []),
  ];
}

export const structureOf = (ran: Ran) => ({
  exit_code: ran.exit_code,
  stdout: cut(ran.stdout, ran.run_id),
  stderr: cut(ran.stderr, ran.run_id),
  outcome: ran.isRunning ? "running" : ran.outcome,
  displayed: cut(displayedOf(ran), ran.run_id),
  result: mainOf(ran),
  run_id: ran.run_id ?? null,
  notes: notesOf(ran),
});

function layout(ran: Ran): string {
  const { exit_code: code, run_id: id, duration } = ran;
  const first = ran.isRunning
    ? `The run goes on; this is its output so far. Call era_get_run with run_id "${id}" to wait for its end.\nRun ID: ${id}`
    : `Exit Code: ${code}`;
  const sections = [
    ["Stdout", cut(ran.stdout, id)],
    ["Stderr", cut(ran.stderr, id)],
    ["Displayed", cut(displayedOf(ran), id)],
    ["Result", mainOf(ran) ?? ""],
  ].flatMap(([name, text = ""]) => (text.trim() === "" ? [] : [`${name}:\n${text.trimEnd()}`]));
  const ended = ran.outcome === "ok" || ran.outcome === "error" ? [] : [`Outcome: ${ran.outcome}`];
  const notes = notesOf(ran);
  const took = duration === null || ran.isRunning ? [] : [`Duration: ${duration}`];
  return [first, ...sections, ...notes, ...(ran.isRunning ? [] : ended), ...took].join("\n\n").trim();
}

/** The value of the last expression. */
function mainOf({ results, run_id: id }: Ran): string | null {
  const text = results.find(({ main }) => main)?.text;
  return text === undefined ? null : cut(text, id);
}

/** What was displayed besides, but for pictures, which are shown. */
const displayedOf = ({ results }: Ran): string =>
  results
    .filter(({ main, png, jpeg }) => !main && png === undefined && jpeg === undefined)
    .map(({ text }) => text)
    .join("\n");

function notesOf({ truncated = {}, warnings = [] }: Ran): string[] {
  const dropped = Object.entries(truncated).map(
    ([name, amount]) => `[${amount} ${name === "results" ? "" : "bytes of "}${name} were not kept]`,
  );
  return [...dropped, ...warnings.map((warning) => `[${warning}]`)];
}

const isCut = (text: string) => text.length > HEAD_CHARS + TAIL_CHARS;

/** The beginning and the end of a long text, with the number of characters between them. */
export function cut(text: string, runId?: string): string {
  if (!isCut(text)) return text;
  const left = text.length - HEAD_CHARS - TAIL_CHARS;
  const where = runId === undefined ? "" : `; GET /api/runs/${runId} has the whole`;
  const [head, tail] = [text.slice(0, HEAD_CHARS), text.slice(-TAIL_CHARS)].map((part) =>
    part.toWellFormed(),
  );
  return `${head}\n[… ${left} characters are left out here${where} …]\n${tail}`;
}

const linkTo = (runId: string): Content[number] => ({
  type: "resource_link",
  uri: `run://${runId}`,
  name: runId,
  description: "The whole record of the run",
  mimeType: "application/json",
});

function pictures(results: readonly RichResult[]): Content {
  const all = results.flatMap((result) =>
    PICTURES.flatMap(([kind, mimeType]) => {
      const data = result[kind];
      return data === undefined ? [] : [{ type: "image" as const, data, mimeType }];
    }),
  );
  const shown = all.filter(({ data }) => data.length <= MAX_IMAGE_CHARS).slice(0, MAX_IMAGES);
  const left = all.length - shown.length;
  const note = `[${left} pictures are left out: ${MAX_IMAGES} are shown, of ${MAX_IMAGE_CHARS} characters at most]`;
  return left === 0 ? shown : [...shown, { type: "text", text: note }];
}
