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
display("other"); display(9, display_id="bar", update=True); display(1, display_id="none", update=True)`;
  const events = await streamRun(it.server.url + session.path, { code });
  assert.deepEqual(
    shown(events).map(({ text, display_id }) => [text, display_id]),
    [
      ["0", "bar"],
      ["1", "bar"],
      ["2", "bar"],
      ["'other'", undefined],
      ["9", "bar"],
    ],
  );
  const { results } = events.at(-1)?.data as { results: { text: string }[] };
  assert.deepEqual(
    results.map(({ text }) => text),
    ["9", "'other'"],
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
  assert.equal((many.at(-1)?.data.results as object[]).length, 1_000);
  const large = await streamRun(it.server.url + session.path, {
    code: "class Big:\n    def _repr_html_(self): return 'x' * 3_000_000\nfor n in range(5): display(Big())",
  });
  assert.equal(shown(large).length, 3);
  await session.prints("still\n", "print('still')");
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
