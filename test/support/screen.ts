/** As much of a terminal as programs with a screen need in tests: places of the cursor, and text. */

// biome-ignore lint/suspicious/noControlCharactersInRegex: terminals are told what to do by them
const PARTS = /\x1b\[([?\d;]*)([A-Za-z])|\x1b(?:[()][A-Z0-9]|[=>78])|([\r\n\b])|([^\x1b\r\n\b]+)/g;

export class Screen {
  readonly #cells: string[][];
  /** Lines as they were when anything was in them last. */
  readonly seen: string[];
  #row = 0;
  #column = 0;

  constructor(columns: number, rows: number) {
    this.#cells = Array.from({ length: rows }, () => Array.from({ length: columns }, () => " "));
    this.seen = Array.from({ length: rows }, () => "");
  }

  line(row: number): string {
    return this.#cells[row]?.join("").trimEnd() ?? "";
  }

  write(text: string): void {
    for (const [, numbers = "", kind = "", control, plain = ""] of text.matchAll(PARTS)) {
      if (kind !== "") this.#move(numbers.split(";").map(Number), kind);
      if (control === "\r") this.#column = 0;
      if (control === "\n") this.#row += 1;
      for (const letter of plain) this.#put(letter);
    }
  }

  #move([first = 0, second = 0]: number[], kind: string): void {
    const count = Math.max(1, first);
    if (kind === "H") [this.#row, this.#column] = [count - 1, Math.max(1, second) - 1];
    else if (kind === "d") this.#row = count - 1;
    else if (kind === "G") this.#column = count - 1;
    else if (kind === "C") this.#column += count;
    else if (kind === "B") this.#row += count;
  }

  #put(letter: string): void {
    const line = this.#cells[this.#row];
    if (line !== undefined && this.#column < line.length) line[this.#column] = letter;
    this.#column += 1;
    if (this.line(this.#row) !== "") this.seen[this.#row] = this.line(this.#row);
  }
}
