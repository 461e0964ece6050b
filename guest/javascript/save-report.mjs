/**
 * What is told of saved state, in one form: how a save went, and what a new kernel has found
 * (guest/state/save_report.py).
 */

const MAX_TOLD = 100;
export const MAX_REASON = 300;
export const NOTHING_SAVED = {
  version: 0,
  run: "",
  result: null,
  groups: [],
  extras: null,
  sources: {},
  modules: {},
  not_kept: [],
};

/** `header`: of the newest version that was saved. `told`: what is not as after a save of nothing. */
export function ofSave(header, version, told) {
  return {
    type: "saved",
    version,
    written: 0,
    bytes: header.bytes ?? 0,
    not_kept: header.not_kept.slice(0, MAX_TOLD),
    failed: null,
    staged: false,
    complete: false,
    background: 0,
    ...told,
  };
}

export function ofFailure(version, reason, header, told) {
  return ofSave(header, version, { failed: reason.slice(0, MAX_REASON), ...told });
}

/** `damage`: why newer versions than this one could not be read. Null when there is nothing to tell. */
export function ofRestore(header, damage) {
  if (header === null && damage.length === 0) return null;
  const { version, run, result, not_kept } = header ?? NOTHING_SAVED;
  const reasons = damage.slice(0, MAX_TOLD).map((reason) => reason.slice(0, MAX_REASON));
  return { version, run, result, not_kept: not_kept.slice(0, MAX_TOLD), damage: reasons };
}
