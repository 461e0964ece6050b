/** What the kernel uses of Deno's own interface. */
interface DenoFile {
  read(buffer: Uint8Array): Promise<number | null>;
  writeSync(data: Uint8Array): number;
}

declare var Deno: {
  exit: (code?: number) => void;
  exitCode: number;
  readonly stdout: DenoFile;
  readonly stderr: DenoFile;
  readonly stdin: { readSync(into: Uint8Array): number | null };
  readonly env: { toObject(): Record<string, string> };
  openSync(path: string, options: { read?: boolean; write?: boolean }): DenoFile;
  inspect(value: unknown): string;
};
