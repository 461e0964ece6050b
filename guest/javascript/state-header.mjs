/**
 * Whether the header of a version is one that a kernel has written: a guest can write one of its own, with the right
 * digest.
 */

const isText = (value, most) => typeof value === "string" && value.length <= most;
const isSize = (value) => Number.isSafeInteger(value) && value >= 0;
const isTable = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isPlace = (place) =>
  Array.isArray(place) &&
  place.length === 4 &&
  isText(place[0], 4096) &&
  isSize(place[1]) &&
  isSize(place[2]) &&
  isText(place[3], 64);

const isListOf = (list, isItem) => Array.isArray(list) && list.every(isItem);
const isNotKept = ({ name, type, reason, ...more }) =>
  isText(name, 1 << 20) && isText(type, 1024) && isText(reason, 1024) && Object.keys(more).length === 0;

function isGroup({ names, at, types, reprs, reaches }) {
  const lists = [names, types, reprs];
  if (!lists.every((list) => Array.isArray(list) && list.length === names.length)) return false;
  const texts = [...lists, reaches].flat();
  return names.length > 0 && texts.every((text) => isText(text, 1 << 20)) && isPlace(at);
}

function isResult({ outcome, exit_code: status, error, ...more }) {
  const isStatus = isSize(status) && status < 256 && Object.keys(more).length === 0;
  return ["ok", "raised", "exited"].includes(outcome) && isStatus && isError(error);
}

/** Throws for a wrong shape: a guest can write a header of its own, with the right digest. */
export function checkHeader(header, version) {
  const refuse = (what) => {
    throw new Error(`its ${what} is of another kind`);
  };
  if (header.version !== version) refuse("version");
  if (!isText(header.run, 64)) refuse("run");
  if (header.result !== null && !isResult(header.result)) refuse("result");
  if (!isListOf(header.not_kept, isNotKept)) refuse("list of what is not kept");
  if (!isListOf(header.groups, isGroup)) refuse("group");
  if (header.extras !== null && !isPlace(header.extras)) refuse("extras");
  if (!isTable(header.sources) || !Object.values(header.sources).every(isPlace)) refuse("sources");
  if (!isTable(header.modules)) refuse("modules");
}

/** As a run's error is told. */
const isError = (error) =>
  error === null ||
  (Object.keys(error).length === 3 &&
    isText(error.name, 1024) &&
    isText(error.message, 8192) &&
    isText(error.traceback, 65_536));
