/** Guests have a network namespace with a loopback of their own and no other interface. */
export function planNetwork(): string[] {
  return ["--unshare-net"];
}
