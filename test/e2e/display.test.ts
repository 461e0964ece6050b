/** What programs show: as events while they run, as results at the end, and again from the record. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { readEvents, type SentEvent, streamRun } from "../support/events.ts";
import { oneServer } from "../support/one-server.ts";

const it = oneServer({ ERA_POOL: "python=1" });

// biome-ignore lint/suspicious/noExplicitAny: results are looked at field by field
const shown = (events: readonly SentEvent[]): any[] =>
  events.filter(({ event }) => event === "display").map(({ data }) => data.result);

test("the picture of the third plot is there before the run ends, after what was printed before it", async () => {
  const session = await it.client.create("plots");
  const code = `import matplotlib.pyplot as plt, time
for n in range(3):
    print("plot", n)
    plt.plot([1, n, 3]); plt.show()
time.sleep(1)
print("end")`;
  const events = await streamRun(it.server.url + session.path, { code });
  assert.deepEqual(
    events.map(({ event }) => event),
    ["stdout", "display", "stdout", "display", "stdout", "display", "stdout", "done"],
  );
  const [third, done] = [events[5], events[7]];
  assert.ok(third !== undefined && done !== undefined && done.atMs - third.atMs > 800);
  const pictures = shown(events).map(({ png }) => png);
  assert.ok(pictures.every((png) => Buffer.from(png, "base64").subarray(1, 4).toString() === "PNG"));
  assert.deepEqual(
    (done.data.results as { png: string }[]).map(({ png }) => png),
    pictures,
  );
  const record = await fetch(`${it.server.url}/api/runs/${done.data.run_id}/stream`);
  const again = await Array.fromAsync(readEvents(record));
  assert.deepEqual(
    again.map(({ event, id, data }) => ({ event, id, data })),
    events.map(({ event, id, data }) => ({ event, id, data })),
  );
  const rest = await fetch(`${it.server.url}/api/runs/${done.data.run_id}/stream`, {
    headers: { "last-event-id": events[3]?.id ?? "" },
  });
  assert.deepEqual(
    (await Array.fromAsync(readEvents(rest))).map(({ id }) => id),
    events.slice(4).map(({ id }) => id),
  );
});

test("one that has an id takes the place of the one before it", async () => {
  const session = await it.client.create("updates");
  const code = `for n in range(3): display(n, display_id="bar")
display("other"); display(9, display_id="bar", update=True); display(1, display_id="late", update=True)`;
  const events = await streamRun(it.server.url + session.path, { code });
  assert.deepEqual(
    shown(events).map(({ text, display_id }) => [text, display_id]),
    [
      ["0", "bar"],
      ["1", "bar"],
      ["2", "bar"],
      ["'other'", undefined],
      ["9", "bar"],
      ["1", "late"],
    ],
  );
  const { results } = events.at(-1)?.data as { results: { text: string }[] };
  assert.deepEqual(
    results.map(({ text }) => text),
    ["9", "'other'", "1"],
  );
});

test("what a failing program has shown is in its answer, and what is too much is in none", async () => {
  const session = await it.client.create("bounds");
  const failed = await session.run("display(1)\n1 / 0");
  assert.deepEqual(
    failed.results.map(({ text }: { text: string }) => text),
    ["1"],
  );
  const many = await streamRun(it.server.url + session.path, { code: "for n in range(5000): display(n)" });
  assert.equal(shown(many).length, 2_000);
  const done = many.at(-1)?.data;
  assert.equal((done?.results as object[]).length, 1_000);
  assert.deepEqual(done?.truncated, { results: 4_000 });
  assert.match(String(many.find(({ event }) => event === "warning")?.data.message), /more than 2000 values/);
  const large = await streamRun(it.server.url + session.path, {
    code: "class Big:\n    def _repr_html_(self): return 'x' * 3_000_000\nfor n in range(5): display(Big())",
  });
  assert.equal(shown(large).length, 3);
  await session.prints("still\n", "print('still')");
});

for (const [language, code] of Object.entries({
  python: "for n in range(1500): display(n)\n'main'",
  node: "for (let n = 0; n < 1500; n++) display(n);\n'main'",
}))
  test(`${language}: the value of the last expression is there, however much was displayed before`, async () => {
    const session = await it.client.create(`main-${language}`, { language });
    const { results, truncated } = await session.run(code);
    assert.deepEqual([results.length, results.at(-1).main, results.at(-1).text], [1_000, true, "'main'"]);
    assert.deepEqual(truncated, { results: 501 });
  });

/** Values whose forms are each within their limit, and together, or as they are written, are not. */
const HUGE: Record<string, string> = {
  python: `class Huge:
    def _repr_html_(self): return "\u00e9" * 4_000_000
    def _repr_svg_(self): return "x" * 4_000_000
    def _repr_markdown_(self): return "y" * 4_000_000
display(Huge()); kept = 1`,
  node: `display({ [Symbol.for("Jupyter.display")]: () => ({ "text/html": "\u6f22".repeat(4_000_000), "image/svg+xml": "x".repeat(4_000_000),
  "text/markdown": "y".repeat(4_000_000) }) }); var kept = 1`,
};
for (const [language, code] of Object.entries(HUGE))
  test(`${language}: of a value that is too large the largest forms are left out, and named`, async () => {
    const session = await it.client.create(`huge-${language}`, { language });
    const { results, exit_code } = await session.run(code);
    assert.equal(exit_code, 0);
    assert.equal(results.length, 1);
    const [{ omitted, html }] = results;
    assert.equal(html, undefined);
    assert.equal(omitted[0], "html");
    assert.equal((await session.run("kept")).results[0].text, "1", "the kernel has lived");
  });

test("a flood of what is displayed costs the run's own answer, and nothing else", async () => {
  const session = await it.client.create("flood");
  await session.run("kept = 1");
  const code = `class Big:
    def _repr_html_(self): return "x" * 3_000_000
for n in range(200): display(Big(), display_id="one")`;
  const answer = await session.run(code);
  assert.equal(answer.exit_code, 0);
  assert.equal(answer.results.length, 1);
  assert.match(answer.warnings[0], /9 MiB/);
  await session.prints("1\n", "print(kept)");
});

test("threads that outlive their run, handlers of signals and children display, and nobody waits for ever", async () => {
  const session = await it.client.create("threads");
  const code = `import threading, time, signal, os
def work():
    for n in range(30):
        time.sleep(0.02); display(n)
threading.Thread(target=work).start(); time.sleep(0.1)`;
  const first = (await session.run(code)).results.length;
  assert.ok(first >= 1);
  for (let at = 0; at < 10; at++) {
    const { stdout, exit_code } = await session.run("time.sleep(0.01); print('here')");
    assert.match(stdout, /^(\d+\n)*here\n(\d+\n)*$/, "between two runs it is text, as what a thread prints");
    assert.equal(exit_code, 0);
  }
  await session.run("time.sleep(1)");
  const handled =
    await session.run(`class Over(BaseException): pass  # another might be taken for the failure of a repr()
def on(*_): display("in a handler"); raise Over
signal.signal(signal.SIGALRM, on); signal.setitimer(signal.ITIMER_REAL, 0.1)
try:
    while True: display("x" * 5000, display_id="x")
except Over: print("timed out")`);
  assert.equal(handled.stdout, "timed out\n");
  await session.prints(
    "'child'\n",
    "pid = os.fork()\nif pid == 0:\n    display('child'); os._exit(0)\n_ = os.waitpid(pid, 0)",
  );
});

test("what a program writes on the kernel's line in place of a value costs its kernel, not the sandbox", async () => {
  const session = await it.client.create("forged");
  await session.run("kept = 1");
  const forged = await session.run(`import os, json, struct
header = json.dumps({"type": "display", "run": "x", "number": [[["deep"]]]}).encode()
for fd in range(3, 64):
    try:
        if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"): os.write(fd, struct.pack(">II", len(header), 0) + header)
    except OSError: pass
import time; time.sleep(1)`);
  assert.equal(forged.outcome, "lost", JSON.stringify(forged).slice(0, 600));
  await session.prints("1\n", "print(kept)");
});

test("what is taken back is that of the run, and of what captures; a child takes nothing back", async () => {
  const session = await it.client.create("taken-back");
  const code = `from IPython.display import clear_output
from IPython.utils.capture import capture_output
import os
display("kept")
with capture_output() as captured:
    display("gone"); clear_output(); display("captured")
pid = os.fork()
if pid == 0:
    clear_output(); os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), [output["text/plain"] for output in captured.outputs])`;
  const { stdout, results } = await session.run(code);
  assert.equal(stdout, `7 ["'captured'"]\n`);
  assert.deepEqual(
    results.map(({ text }: { text: string }) => text),
    ["'kept'"],
  );
});

test("a handler of a signal that fails between two runs ends nothing, and is told", async () => {
  const session = await it.client.create("alarm");
  await session.run(`import signal, time
def on(*_): raise TimeoutError("too late")
live = (n for n in range(3)); signal.signal(signal.SIGALRM, on); signal.setitimer(signal.ITIMER_REAL, 0.05)`);
  await new Promise((resolve) => setTimeout(resolve, 300));
  await session.prints("0 True\n", "print(next(live), signal.getsignal(signal.SIGALRM) is on)");
});

test("a timer whose handler raises again and again loses nothing between runs", async () => {
  const session = await it.client.create("timers");
  await session.run(
    "import signal\ndef on(*_): raise TimeoutError('late')\nsignal.signal(signal.SIGALRM, on); kept = (n for n in range(3))",
  );
  for (let at = 0; at < 5; at++) {
    const { outcome } = await session.run("signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)\n1 / 0");
    assert.equal(outcome, "raised");
  }
  await session.run("signal.setitimer(signal.ITIMER_REAL, 0)");
  await session.prints("0\n", "print(next(kept))");
});

for (const language of ["node", "typescript", "deno"])
  test(`${language}: display() shows HTML, pictures, tables and values that know how`, async () => {
    const session = await it.client.create(`display-${language}`, { language });
    const code = `display.html("<b>x</b>"); display.svg("<svg/>"); display.png(new Uint8Array([137, 80, 78, 71]));
display.table([{ a: 1, b: "<" }, { a: 2 }]);
display({ [Symbol.for("Jupyter.display")]: () => ({ "text/markdown": "# hi", "application/json": { a: 1 } }) });
display([1, 2]); display("later", { display_id: "d" }); await 0; display("now", { display_id: "d" }); await display.latex("x"); 7`;
    const events = await streamRun(it.server.url + session.path, { code });
    const { results } = events.at(-1)?.data as { results: Record<string, unknown>[] };
    assert.equal(results[0]?.html, "<b>x</b>");
    assert.equal(results[1]?.svg, "<svg/>");
    assert.equal(results[2]?.png, Buffer.from([137, 80, 78, 71]).toString("base64"));
    assert.match(String(results[3]?.html), /<td>1<\/td><td>&lt;<\/td>/);
    assert.deepEqual([results[4]?.markdown, results[4]?.json], ["# hi", '{"a":1}']);
    assert.equal(results[5]?.text, "[ 1, 2 ]");
    assert.deepEqual(
      [results[6]?.text, results[6]?.display_id],
      [language === "deno" ? '"now"' : "'now'", "d"],
    );
    assert.deepEqual(results[8], { main: true, text: "7" });
    assert.equal(shown(events).length, 9);
    await session.hibernate();
    await session.prints("function\n", "console.log(typeof display)");
    const own = await session.run("var display = (x) => x + 1; display(1)");
    assert.equal(own.results[0].text, "2");
  });
