/**
 * From a host's name to the addresses that are then dialled, and no others: what a name means later does not matter.
 */
import { lookup as lookupBySystem, Resolver } from "node:dns/promises";
import { networkInterfaces } from "node:os";
import { isAddress, isPublic, plainAddress } from "../protocol/egress.ts";

const TIMEOUT_MS = 3_000;
const TRIES = 2;

/** A destination that must not be reached, or does not exist; the message is for the program that asked. */
export class Unreachable extends Error {}

/**
 * Public addresses of a host. Rejects with Unreachable when it has none, or also one that is not public.
 * Asks the name servers directly: the system's own look-up would hold one of the few threads that files need too.
 */
export async function publicAddresses(host: string): Promise<string[]> {
  const found = isAddress(host) ? [host] : await ask(host);
  const addresses = found.map(plainAddress); // an IPv4 address in the form of IPv6 is that IPv4 address
  if (addresses.length === 0) throw new Unreachable(`'${host}' has no address`);
  const closed = addresses.find((address) => !isPublic(address) || isOwn(address));
  if (closed !== undefined) throw new Unreachable(`'${host}' is not on the public internet (${closed})`);
  return addresses;
}

/** Whether an address is one of this machine's: what listens there may trust whoever comes from it. */
function isOwn(address: string): boolean {
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return own.some((known) => !known.internal && known.address === address);
}

async function ask(host: string): Promise<string[]> {
  const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: TRIES });
  const answers = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
  return answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
}

/** Addresses of a host that the operator has named, by whatever means the system has. */
export async function trustedAddresses(host: string): Promise<string[]> {
  const found = await lookupBySystem(host, { all: true }).catch(() => []);
  if (found.length === 0) throw new Unreachable(`'${host}' has no address`);
  return found.map(({ address }) => address);
}
