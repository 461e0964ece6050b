/**
 * Addresses of sessions' ports with names of their own, as https://8000-demo.apps.example.com: each is an origin, so
 * that what listens there has its cookies, its root paths and its pages for itself. Names below the domain are those of
 * ports alone; a session whose id no host name can have is reached by its path.
 */
import { isServerName, keyIn, localName } from "../protocol/session-names.ts";

/** A session of a key has its key's id before it, with a dot; in one label of a name that is written so. */
const OF_A_KEY = "--";
const LABEL = /^(\d{1,5})-([a-z0-9](?:[a-z0-9-]*[a-z0-9])?)$/;
const KEYS_SESSION = /^(k[a-z0-9]{8})--(.+)$/;
/** Before the path, as a proxy is asked. */
const ORIGIN = /^https?:\/\/[^/?]*/i;
const MAX_LABEL_CHARS = 63;

export class ProxyDomain {
  readonly #scheme: string | null;
  readonly #host: string;
  readonly #suffix: string;

  /** `address`: a name, with its port when that is not the usual one, and perhaps with its scheme. */
  constructor(address: string) {
    const [, scheme = null, host = ""] = /^(?:(https?):\/\/)?(.*)$/.exec(address) ?? [];
    this.#scheme = scheme;
    this.#host = host;
    this.#suffix = `.${host.replace(/:\d+$/, "")}`;
  }

  /** Without a path; null for a session that has no such address. */
  addressOf(id: string, port: number, protocol: string): string | null {
    const name = isServerName(id) ? `${keyIn(id)}${OF_A_KEY}${localName(id)}` : id;
    const label = `${port}-${name}`;
    if (label.length > MAX_LABEL_CHARS || idOf(name) !== id || !LABEL.test(label)) return null;
    return `${this.#scheme ?? protocol}://${label}.${this.#host}`;
  }

  /** Whether a request came by such an address, also by one that is of no port. */
  isMeant(host: string | undefined): boolean {
    return nameIn(host).endsWith(this.#suffix);
  }

  /** The path by which the same is reached; of a name that is of no port, one that there is not. */
  pathOf(host: string | undefined, url: string): string {
    const [, port = "", name = ""] = LABEL.exec(nameIn(host).slice(0, -this.#suffix.length)) ?? [];
    return `/proxy/${name === "" ? "-" : encodeURIComponent(idOf(name))}/${port || "0"}${url.replace(ORIGIN, "")}`;
  }
}

const nameIn = (host = "") => host.toLowerCase().replace(/\.?(:\d+)?$/, "");

function idOf(name: string): string {
  const [, key, local] = KEYS_SESSION.exec(name) ?? [];
  return key === undefined ? name : `${key}.${local}`;
}
