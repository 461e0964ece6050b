/** A time span as Go's time.Duration prints it ("15.31525ms", "5.123s", "1m2s"): the contract's `duration`. */
export function formatGoDuration(microseconds: number): string {
  const us = Math.max(0, Math.round(microseconds));
  if (us === 0) return "0s";
  if (us < 1000) return `${us}µs`;
  if (us < 1_000_000) return `${us / 1000}ms`;
  const hours = Math.floor(us / 3_600_000_000);
  const minutes = Math.floor(us / 60_000_000) % 60;
  const seconds = (us % 60_000_000) / 1_000_000;
  return `${hours > 0 ? `${hours}h` : ""}${hours > 0 || minutes > 0 ? `${minutes}m` : ""}${seconds}s`;
}
