/**
 * Where a session's folder is, through moves that end, that are cut off at each step, and that somebody is in the way
 * of.
 */
import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openBareHost } from "../../../test/support/bare-host.ts";
import type { Folder } from "../../live/folder.ts";
import { isLeft, isMovable, moveContent } from "../../live/move-folder.ts";
import { createOwnedFolder } from "../../live/owned-folder.ts";
import type { PlaceStore } from "../../store/places.ts";
import { DEFAULTS } from "../new-row.ts";
import { SessionRecords } from "../records.ts";
import { NO_PROGRESS } from "../saved/progress.ts";
import { SessionFolder } from "./session-folder.ts";

const CUT_OFF = new Error("the server was killed here");

/** A session with a folder that has a file, a link and a folder with a file in it. */
async function openFolder(change: (places: PlaceStore) => PlaceStore = (places) => places) {
  const bare = openBareHost();
  const row = {
    ...DEFAULTS,
    ...NO_PROGRESS,
    id: "x",
    language: "python" as const,
    createdAt: "",
    claimable: false,
  };
  const whole = { ...row, metadata: {}, data: {}, code: null, setup: null };
  await bare.store.insertSession(whole);
  const places = change(bare.places);
  const load = async () =>
    new SessionRecords(whole, await bare.places.findPlace("x"), { store: bare.store, places });
  const folder = new SessionFolder(await load(), bare.host);
  await folder.make();
  const from = folder.current as Folder;
  writeFileSync(join(from.workspace, "a.txt"), "a");
  symlinkSync("/etc/passwd", join(from.home, "link"));
  mkdirSync(join(from.state, "versions"));
  writeFileSync(join(from.state, "versions/1"), "state");
  return { bare, folder, from, load };
}

function holds(folder: Folder): boolean {
  const isThere = readFileSync(join(folder.workspace, "a.txt"), "utf8") === "a";
  return isThere && readdirSync(folder.home)[0] === "link" && existsSync(join(folder.state, "versions/1"));
}

test("all parts move, links as links, and the folder that was left is gone when the move has ended", async () => {
  const { bare, folder, from } = await openFolder();
  await using _closed = bare;
  const to = await createOwnedFolder(bare.host);
  await folder.moveTo(to);
  assert.equal(holds(to), true);
  await folder.finishMove();
  assert.deepEqual([existsSync(from.root), folder.current?.key], [false, to.key]);
  assert.deepEqual(await bare.places.listMoves(), []);
});

test("what is in the way of a move is the new folder's own, and goes", async () => {
  const { bare, folder } = await openFolder();
  await using _closed = bare;
  const to = await createOwnedFolder(bare.host);
  mkdirSync(join(to.workspace, "a.txt/inside"), { recursive: true });
  await folder.moveTo(to);
  assert.equal(holds(to), true);
});

test("a move that was cut off half-way is brought to its end by the next server, before anybody works in it", async () => {
  const { bare, folder, from, load } = await openFolder();
  await using _closed = bare;
  const to = await createOwnedFolder(bare.host);
  const movedFrom = { key: from.key, uid: from.uid };
  await bare.places.savePlace("x", { folder: { key: to.key, uid: to.uid, movedFrom }, snapshot: null }, true);
  renameSync(join(from.workspace, "a.txt"), join(to.workspace, "a.txt"));
  assert.equal(folder.current?.key, from.key, "the earlier server knew nothing of it");
  const next = new SessionFolder(await load(), bare.host);
  using held = await next.hold();
  assert.equal(held.folder?.key, to.key);
  assert.deepEqual([holds(to), existsSync(from.root)], [true, false]);
});

test("a move that cannot be written down moves nothing, and the session has its folder", async () => {
  let fails = false;
  const { bare, folder, from } = await openFolder((places) => ({
    ...places,
    savePlace: (...values) => (fails ? Promise.reject(CUT_OFF) : places.savePlace(...values)),
  }));
  await using _closed = bare;
  const to = await createOwnedFolder(bare.host);
  fails = true;
  await assert.rejects(folder.moveTo(to), CUT_OFF);
  fails = false;
  assert.deepEqual([folder.current?.key, holds(from), isLeft(to)], [from.key, true, false]);
  using held = await folder.hold();
  assert.equal(held.folder?.key, from.key);
});

test("whoever holds the folder keeps it where it is, until the last has let go, twice or not", async () => {
  const { bare, folder } = await openFolder();
  await using _closed = bare;
  const first = await folder.hold();
  const second = await folder.hold();
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  assert.equal(folder.isHeld, true);
  second[Symbol.dispose]();
  assert.equal(folder.isHeld, false);
});

test("a tree of too many files is not moved, and nothing of it is touched by the question", async () => {
  const { bare, from } = await openFolder();
  await using _closed = bare;
  assert.equal(isMovable(from), true);
  for (let at = 0; at < 500; at++) writeFileSync(join(from.workspace, `file ${at}`), "");
  assert.equal(isMovable(from), false);
  assert.equal(readdirSync(from.workspace).length, 501);
});

test("a move goes on from wherever it stopped: what has arrived already stays", async () => {
  const { bare, from } = await openFolder();
  await using _closed = bare;
  const to = await createOwnedFolder(bare.host);
  renameSync(join(from.state, "versions"), join(to.state, "versions"));
  moveContent(from, to);
  moveContent(from, to);
  assert.deepEqual([holds(to), isLeft(from)], [true, false]);
});
