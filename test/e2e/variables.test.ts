/** Variables one by one: read in a chosen form, set, deleted; differences between versions; undo and redo. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { SessionClient } from "../support/client.ts";
import { oneServer } from "../support/one-server.ts";

const it = oneServer({ ERA_POOL: "python=1" });
const read = (session: SessionClient, name: string, query = "", status = 200) =>
  it.client.expect(status, "GET", `${session.path}/variables/${encodeURIComponent(name)}${query}`);
const set = (session: SessionClient, name: string, value: unknown, status = 200) =>
  it.client.expect(status, "PUT", `${session.path}/variables/${name}`, { value });

test("python: a value is read as JSON, text, a table, a picture, whole or in part", async () => {
  const session = await it.client.create("forms");
  await session.run(`import numpy as np, pandas as pd, datetime
x = {"a": [1, 2.5, None, True], "b": "t\u00e9xt"}
s = "plain"
a = np.arange(12).reshape(3, 4); n = np.float64(1.5); mixed = [np.int64(1), a]
df = pd.DataFrame({"k": list("abc"), "v": [1, 2, 3]})
odd = {"when": datetime.date(2026, 1, 1)}; nan = float("nan"); f = lambda: 1
class Rich:
    def _repr_html_(self): return "<b>r</b>"
r = Rich()`);
  assert.deepEqual(await read(session, "x"), {
    name: "x",
    form: "json",
    value: { a: [1, 2.5, null, true], b: "téxt" },
    type: "dict",
    length: 2,
    shape: null,
  });
  assert.equal((await read(session, "s", "?form=text")).value, "plain");
  assert.deepEqual((await read(session, "a")).value, [
    [0, 1, 2, 3],
    [4, 5, 6, 7],
    [8, 9, 10, 11],
  ]);
  assert.deepEqual((await read(session, "a", "?from=1&count=1")).value, [[4, 5, 6, 7]]);
  assert.deepEqual((await read(session, "a")).shape, [3, 4]);
  assert.equal((await read(session, "n")).value, 1.5);
  assert.deepEqual((await read(session, "mixed", "?count=1")).value, [1]);
  assert.deepEqual((await read(session, "df")).value, {
    columns: ["k", "v"],
    index: [0, 1, 2],
    data: [
      ["a", 1],
      ["b", 2],
      ["c", 3],
    ],
    dtypes: ["object", "int64"],
  });
  assert.equal((await read(session, "df", "?form=csv&from=1&count=1")).value, ",k,v\n1,b,2\n");
  assert.match((await read(session, "df", "?form=html")).value, /<table/);
  assert.equal((await read(session, "r", "?form=html")).value, "<b>r</b>");
  assert.equal((await read(session, "f", "?form=text")).type, "function");
  for (const name of ["odd", "nan", "f", "r"])
    assert.equal((await read(session, name, "", 406)).code, "no_such_form", name);
  assert.equal((await read(session, "x", "?form=png", 406)).code, "no_such_form");
  assert.equal((await read(session, "none", "", 404)).code, "variable_not_found");
  for (const name of ["a b", "x.y", "x;y", "1a", "import", "x$"]) await read(session, name, "", 400);
  await read(session, "x", "?form=xml", 400);
  const { runs } = await it.client.expect(200, "GET", `${session.path}/runs`);
  assert.equal(runs.length, 1, "a look is no run");
  await session.run("big = 'x' * 9_000_000");
  assert.match((await read(session, "big", "?form=text", 406)).error, /ask for a part/);
  assert.equal((await read(session, "big", "?form=text&from=8999999")).value, "x");
  await session.hibernate();
  assert.equal((await read(session, "s")).value, "plain", "it is woken");
});

test("python: JSON of a value says the same, or is refused", async () => {
  const session = await it.client.create("exact");
  await session.run(`import numpy as np, pandas as pd, datetime, decimal, enum
exact = {
    "third": pd.Series([1 / 3, 2e-310, 1e22]), "big": 2**64 + 1, "unsigned": np.array([2**64 - 1], dtype="uint64"),
    "ns": pd.Series(pd.to_datetime(["2026-01-02T03:04:05.123456789", None])),
    "missing": pd.DataFrame({"a": [1, np.nan], "b": ["x", None], "c": pd.array([1, None], dtype="Int64")}),
    "days": np.array(["2026-01-02", "NaT"], dtype="datetime64[D]"), "text": "\\ud83d\\ude00 \u2028",
    "levels": pd.DataFrame({("a", 1): [2]}), "none": pd.DataFrame({"a": []}), "half": np.float16(0.1),
    "wide": pd.Series([2**63], dtype="uint64", name=("n", 1)),
}
globals().update(exact)
class E(enum.IntEnum): one = 1
refused = {
    "keys": {1: 2}, "infinite": pd.Series([float("inf")]), "nan": np.array([np.nan]), "complex_": np.array([1j]), "raw": b"x",
    "money": decimal.Decimal("1.10"), "spans": np.array([1], dtype="timedelta64[ns]"), "records": np.zeros(1, dtype="i4,f4"),
    "period": pd.Series(pd.period_range("2026", periods=1, freq="D")), "long": np.longdouble(1) / 3, "many": range(3),
}
globals().update(refused); member = E.one`);
  const raw = async (name: string) => {
    const response = await fetch(`${it.server.url}${session.path}/variables/${name}`);
    const text = await response.text();
    assert.equal(response.status, 200, text);
    return /"value":(.*)}$/s.exec(text)?.[1]?.replaceAll(" ", "");
  };
  assert.equal(
    await raw("third"),
    '{"name":null,"index":[0,1,2],"data":[0.3333333333333333,2e-310,1e+22],"dtype":"float64"}',
  );
  assert.equal(await raw("big"), "18446744073709551617");
  assert.equal(await raw("unsigned"), "[18446744073709551615]");
  assert.match(String(await raw("ns")), /"2026-01-02T03:04:05.123456789",null/);
  assert.match(
    String(await raw("missing")),
    /"data":\[\[1.0,"x",1\],\[null,null,null\]\],"dtypes":\["float64","object","Int64"\]/,
  );
  assert.equal(await raw("days"), '["2026-01-02",null]');
  assert.match(String(await raw("levels")), /"columns":\[\["a",1\]\]/);
  assert.match(String(await raw("none")), /"data":\[\]/);
  assert.equal(await raw("half"), "0.0999755859375");
  assert.match(String(await raw("wide")), /"name":\["n",1\].*9223372036854775808/);
  assert.equal(await raw("member"), "1");
  for (const name of "keys infinite nan complex_ raw money spans records period long many".split(" "))
    assert.equal((await read(session, name, "", 406)).code, "no_such_form", name);
  const body = '{"value": 12345678901234567890}';
  const refused = await it.client.call("PUT", `${session.path}/variables/n`, body);
  assert.match(refused.body.error, /beyond 2\^53.*give it as text/);
  const deep = `{"value": ${"[".repeat(100_000)}${"]".repeat(100_000)}}`;
  const nested = await it.client.call("PUT", `${session.path}/variables/n`, deep);
  assert.deepEqual([nested.status, nested.body.code], [400, "invalid_request"]);
  await set(session, "n", 1e300);
  assert.equal((await read(session, "n")).value, 1e300);
  await session.run(
    "long_series = pd.Series(np.zeros(6_000_000)); wide = pd.DataFrame(index=range(6_000_000))",
  );
  for (const name of ["long_series", "wide"])
    assert.match((await read(session, name, "", 406)).error, /ask for a part/, name);
  await session.run("accents = '\u6f22' * 2_000_000");
  assert.match((await read(session, "accents", "", 406)).error, /ask for a part/);
});

test("python: setting and deleting are runs, and hostile values are looked at without harm", async () => {
  const session = await it.client.create("changes");
  const value = { text: `"quotes" 'and' \\ \u2028 \n`, list: [1, [2, { three: null }]], "": true };
  const { version, run_id } = await set(session, "config", value);
  assert.equal(version, 1);
  assert.deepEqual((await read(session, "config")).value, value);
  assert.equal((await it.client.expect(200, "GET", `/api/runs/${run_id}`)).status, "done");
  await it.client.expect(200, "DELETE", `${session.path}/variables/config`);
  await read(session, "config", "", 404);
  assert.equal(
    (await it.client.expect(404, "DELETE", `${session.path}/variables/config`)).code,
    "variable_not_found",
  );
  await it.client.expect(400, "PUT", `${session.path}/variables/x`, {});
  await session.run(`class Slow:
    def __repr__(self):
        while True: pass
class Loud:
    def __repr__(self): print("printed"); raise SystemExit(3)
class Deep(dict): pass
slow, loud = Slow(), Loud()
deep = []
for _ in range(100_000): deep = [deep]
keep = 1`);
  await read(session, "loud", "?form=text", 406);
  await read(session, "deep", "", 406);
  await session.prints("1\n", "print(keep)");
});

test(
  "python: a value that never shows itself ends within its time, and the variables stay",
  { timeout: 60_000 },
  async () => {
    const session = await it.client.create("slow");
    await session.run(
      "class Slow:\n    def __repr__(self):\n        while True: pass\nslow = Slow(); keep = 1",
    );
    await read(session, "slow", "?form=text", 406);
    await session.prints("1\n", "print(keep)");
  },
);

for (const language of ["node", "typescript", "deno"])
  test(`${language}: values are read exactly or refused, and set`, async () => {
    const session = await it.client.create(`values-${language}`, { language });
    await session.run(
      "const x = { a: [1, 2], b: 't' }; let list = [1, 2, 3, 4]; const t = new Float32Array([1.5, 2]); const m = new Map(); const f = () => 1; const n = NaN",
    );
    assert.deepEqual((await read(session, "x")).value, { a: [1, 2], b: "t" });
    assert.deepEqual((await read(session, "list", "?from=1&count=2")).value, [2, 3]);
    assert.deepEqual((await read(session, "t")).value, [1.5, 2]);
    assert.equal((await read(session, "t")).type, "Float32Array");
    for (const name of ["m", "f", "n"]) await read(session, name, "", 406);
    await read(session, "none", "", 404);
    await read(session, "x", "?form=csv", 406);
    await set(session, "list", { now: [true] });
    assert.deepEqual((await read(session, "list")).value, { now: [true] });
    await set(session, "fresh", "a\u2028b");
    await session.hibernate();
    assert.deepEqual((await read(session, "fresh")).value, "a\u2028b");
    await it.client.expect(400, "DELETE", `${session.path}/variables/fresh`);
  });

test("bash takes texts and numbers, and go refuses by name", async () => {
  const bash = await it.client.create("in-bash", { language: "bash" });
  await set(bash, "word", "it's $(date)");
  await bash.prints("it's $(date)\n", 'echo "$word"');
  await set(bash, "word", { a: 1 }, 400);
  await it.client.expect(200, "DELETE", `${bash.path}/variables/word`);
  await bash.prints("gone\n", 'echo "${word-gone}"');
  await read(bash, "word", "", 400);
  const go = await it.client.create("in-go", { language: "go" });
  await set(go, "x", 1, 400);
});

test("versions are compared by what is saved of them, and undone and done again", async () => {
  const session = await it.client.create("history");
  await session.run("a = 1; b = [1, 2]; c = 'c'");
  await session.run("a = 2; del c; d = 'new'");
  const found = await it.client.expect(200, "GET", `${session.path}/difference?from=1&to=2`);
  assert.deepEqual(found, {
    from: 1,
    to: 2,
    added: [{ name: "d", type: "str", repr: "'new'" }],
    removed: [{ name: "c", type: "str", repr: "'c'" }],
    changed: [
      {
        name: "a",
        before: { name: "a", type: "int", repr: "1" },
        after: { name: "a", type: "int", repr: "2" },
      },
    ],
  });
  await it.client.expect(404, "GET", `${session.path}/difference?from=1&to=99`);
  await session.run("a = 3");
  const undo = (status = 200) => it.client.expect(status, "POST", `${session.path}/undo`);
  const redo = (status = 200) => it.client.expect(status, "POST", `${session.path}/redo`);
  const a = async () => (await read(session, "a")).value;
  assert.equal((await undo()).rolled_back_to, 2);
  assert.equal(await a(), 2);
  assert.equal((await undo()).rolled_back_to, 1);
  assert.equal(await a(), 1);
  assert.equal((await undo(409)).code, "nothing_to_undo");
  await session.hibernate();
  assert.equal((await redo()).rolled_back_to, 2);
  assert.equal((await redo()).rolled_back_to, 3);
  assert.equal(await a(), 3);
  assert.equal((await redo(409)).code, "nothing_to_redo");
  await undo();
  await session.run("a = 10");
  assert.equal((await redo(409)).code, "nothing_to_redo");
  assert.equal((await undo()).rolled_back_to < 10, true);
  assert.equal(await a(), 2);
  assert.equal((await undo()).rolled_back_to, 1, "what was undone before is not come back to");
});
