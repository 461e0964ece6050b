import assert from "node:assert/strict";
import { test } from "node:test";
import type { SavedFrame } from "../../protocol/guest.ts";
import { NOTHING_SAVED, noteSaved } from "./saved-state.ts";

const report = (version: number, failed: string | null = null): SavedFrame => ({
  type: "saved",
  version,
  written: 1,
  bytes: version,
  not_kept: [],
  failed,
  staged: false,
  complete: false,
  background: 0,
});

test("a report that is heard after one of a later version sets nothing back", () => {
  const state = { ...NOTHING_SAVED };
  noteSaved(state, report(7));
  noteSaved(state, report(6));
  noteSaved(state, report(6, "the disk was full"));
  assert.deepEqual([state.savedVersion, state.bytes, state.failure], [7, 7, null]);
  noteSaved(state, report(8, "the disk is full"));
  assert.deepEqual([state.savedVersion, state.failure], [7, "the disk is full"]);
});
