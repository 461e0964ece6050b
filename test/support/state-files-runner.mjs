/**
 * Does with guest/javascript's state files, on a folder of the test's, what it is asked: lines of JSON in, lines of
 * JSON out.
 */
import { registerHooks } from "node:module";
import { createInterface } from "node:readline";

const [folder, guest] = process.argv.slice(2);
registerHooks({
  load(url, context, next) {
    const loaded = next(url, context);
    if (!url.endsWith("/state-files.mjs")) return loaded;
    return { ...loaded, source: String(loaded.source).replace('"/run/era-state"', JSON.stringify(folder)) };
  },
});
const files = await import(`${guest}/javascript/state-files.mjs`);
const { KeptVersions } = await import(`${guest}/javascript/kept-versions.mjs`);
files.makeFolders();
const kept = new KeptVersions();

const DO = {
  read({ version }) {
    try {
      const { header } = files.readVersion(version);
      for (const group of header.groups) files.readPlace(group.at);
      return { run: header.run };
    } catch (error) {
      if (!(error instanceof files.Damaged)) throw error;
      return { damaged: error.message };
    }
  },
  save({ header, staged, durable, keep, size }) {
    kept.keep = keep;
    const must = kept.mustFlush(header);
    const isDurable = durable || must;
    const data = { parts: [Buffer.alloc(size)] };
    files.writeVersion(header, data, { durable: isDurable, stage: staged, onDisk: kept.onDisk });
    kept.add(header, isDurable, staged);
    return { must_flush: must };
  },
  commit: () => ({}), // the agent does it, whatever the kernel is
  numbers: () => ({ numbers: files.versionNumbers() }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  console.log(JSON.stringify(DO[request.do](request)));
}
