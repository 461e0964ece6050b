/** Whether the header of a version is one that a kernel has written: a guest can write one of its own, with the right digest. */

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

/** Throws for a wrong shape: a guest can write a header of its own, with the right digest. */
export function checkHeader(header, version) {
  const refuse = (what) => {
    throw new Error(`its ${what} is of another kind`);
  };
  if (header.version !== version) refuse("version");
  if (!isText(header.run, 64)) refuse("run");
  const { result } = header;
  if (
    result !== null &&
    !(
      ["ok", "raised", "exited"].includes(result.outcome) &&
      isSize(result.exit_code) &&
      result.exit_code < 256 &&
      isError(result.error)
    )
  )
    refuse("result");
  if (!Array.isArray(header.not_kept)) refuse("list of what is not kept");
  for (const item of header.not_kept)
    if (!["name", "type", "reason"].every((key) => isText(item[key], 1024)))
      refuse("list of what is not kept");
  if (!Array.isArray(header.groups)) refuse("group");
  for (const { names, at, types, reprs, reaches } of header.groups) {
    const lists = [names, types, reprs];
    if (!lists.every((list) => Array.isArray(list) && list.length === names.length)) refuse("group");
    if (names.length === 0 || ![...lists, reaches].flat().every((text) => isText(text, 1 << 20)))
      refuse("group");
    if (!isPlace(at)) refuse("group");
  }
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
