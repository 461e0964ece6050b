/** What a session may reach of the internet, and the pure questions that are asked of that. */
import ipaddr from "ipaddr.js";

/**
 * All of the internet, none of it, or named hosts: `api.example.org`, `*.example.net` (any name below), `host:8443`.
 */
export type EgressRule = boolean | { allow: string[] };

export type Destination = { host: string; port: number };

/** What became of one destination that a program of a session asked for. */
export type EgressRecord = Destination & {
  at: string;
  /** Why it was refused; null when it was let through. */
  refused: string | null;
  sentBytes: number;
  receivedBytes: number;
  durationMs: number;
};

export const MAX_ALLOWED_HOSTS = 256;
/** Where web servers listen; any other port must be named. */
const WEB_PORTS: ReadonlySet<number> = new Set([80, 443]);
const PATTERN = /^(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(:\d{1,5})?$/;

/** Whether a text is one item of an allow list; addresses are written as such, IPv6 in brackets. */
export function isHostPattern(text: string): boolean {
  if (text.length > 260) return false;
  const { host, port } = splitPort(text.toLowerCase());
  if (port !== null && (port < 1 || port > 65_535)) return false;
  return PATTERN.test(text.toLowerCase()) || (host.startsWith("[") && ipaddr.isValid(host.slice(1, -1)));
}

/** Why a destination is refused by a rule, or null. */
export function refusal(rule: EgressRule, to: Destination): string | null {
  if (rule === false) return "Internet access is off for this session (allowInternetAccess)";
  if (rule === true) return WEB_PORTS.has(to.port) ? null : `Port ${to.port} must be named in an allow list`;
  const isAllowed = rule.allow.some((pattern) => matches(pattern.toLowerCase(), to));
  return isAllowed ? null : `'${to.host}:${to.port}' is not in this session's allow list`;
}

function matches(pattern: string, to: Destination): boolean {
  const { host, port } = splitPort(pattern);
  if (port === null ? !WEB_PORTS.has(to.port) : port !== to.port) return false;
  if (host.startsWith("*.")) return to.host.endsWith(host.slice(1)) && to.host.length > host.length - 1;
  return normalizeHost(host) === to.host;
}

function splitPort(pattern: string): { host: string; port: number | null } {
  const found = /:(\d{1,5})$/.exec(pattern);
  if (found === null) return { host: pattern, port: null };
  return { host: pattern.slice(0, found.index), port: Number(found[1]) };
}

/** A host as it is compared: lower case, without brackets and the root's dot; null when it cannot be one. */
export function normalizeHost(text: string): string | null {
  const bare = text.startsWith("[") && text.endsWith("]") ? text.slice(1, -1) : text;
  if (ipaddr.isValid(bare)) return ipaddr.parse(bare).toString();
  const name = bare.toLowerCase().replace(/\.$/, "");
  return name.length <= 253 && PATTERN.test(name) && !/[*:]/.test(name) ? name : null;
}

/** As it is dialled, and compared. */
export const plainAddress = (address: string) =>
  ipaddr.isValid(address) ? ipaddr.process(address).toString() : address;

/** Addresses of a cloud's platform, although they are in a public range: what they tell is for the machine's owner. */
const PLATFORM_ADDRESSES: ReadonlySet<string> = new Set(["168.63.129.16"]);

export const isAddress = (host: string) => ipaddr.isValid(host);

/** What IPv6 gives to the public internet; all else is reserved, whatever it may be used for one day. */
const PUBLIC_IPV6 = ipaddr.IPv6.parseCIDR("2000::/3");

/**
 * Whether an address is one of the public internet: not of this machine, a private or local network, a cloud's metadata
 * service, or one that carries another address inside.
 */
export function isPublic(address: string): boolean {
  if (!ipaddr.isValid(address) || PLATFORM_ADDRESSES.has(plainAddress(address))) return false;
  const parsed = ipaddr.process(address);
  if (parsed instanceof ipaddr.IPv6 && !parsed.match(PUBLIC_IPV6)) return false;
  return parsed.range() === "unicast";
}
