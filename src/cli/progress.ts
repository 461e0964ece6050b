/** Progress of a long step: one line that is rewritten on a terminal, a plain line now and then elsewhere. */
const WIDTH = 30;
const PLAIN_EVERY_MS = 5_000;

type Progress = { report: (message: string, share: number) => void; done: (message: string) => void };

export function createProgress(title: string, out: NodeJS.WriteStream): Progress {
  const startedAt = performance.now();
  const seconds = () => `${((performance.now() - startedAt) / 1000).toFixed(0)} s`;
  let printedAt = Number.NEGATIVE_INFINITY;
  let highest = 0;
  return {
    report: (message, share) => {
      highest = Math.max(highest, share);
      if (out.isTTY) {
        const filled = Math.round(highest * WIDTH);
        const bar = `${"█".repeat(filled)}${"░".repeat(WIDTH - filled)}`;
        out.write(
          `\r\x1b[2K${title} ${bar} ${Math.round(highest * 100)} %  ${seconds()}  ${message.slice(0, 40)}`,
        );
      } else if (performance.now() - printedAt > PLAIN_EVERY_MS) {
        printedAt = performance.now();
        out.write(`${title}: ${Math.round(highest * 100)} %, ${seconds()}, ${message}\n`);
      }
    },
    done: (message) =>
      out.write(out.isTTY ? `\r\x1b[2K${title}: ${message}\n` : `${title}: ${message} after ${seconds()}\n`),
  };
}
