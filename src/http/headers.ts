/** Which headers pass between a client and the programs of a session. */

/** They concern one connection, not the request that it carries. */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
/**
 * What a guest's answer may say: of its own content, of who may read it, or to a program of its own. All other names
 * are kept back, since browsers give ever new ones a meaning for the whole origin (`NEL`, `Strict-Transport-Security`,
 * `Alt-Svc`), and every session shares this origin with the server's API.
 */
const OF_AN_ANSWER = new Set([
  "accept-patch",
  "accept-post",
  "accept-ranges",
  "age",
  "allow",
  "cache-control",
  "date",
  "deprecation",
  "etag",
  "expires",
  "last-event-id",
  "last-modified",
  "link",
  "location",
  "mcp-protocol-version",
  "mcp-session-id",
  "pragma",
  "preference-applied",
  "retry-after",
  "server",
  "server-timing",
  "set-cookie",
  "sourcemap",
  "timing-allow-origin",
  "vary",
  "via",
  "warning",
  "www-authenticate",
]);
const FAMILIES = /^(access-control|content|cross-origin|grpc|ratelimit|x)-/;
/** Members of those families that speak of other answers than this one. */
const OF_THIS_ORIGIN =
  /^(content-security-policy(-report-only)?|x-dns-prefetch-control|x-permitted-cross-domain-policies|x-content-security-policy|x-webkit-csp)$/;

/** What a page may say of itself where it has an origin for itself. */
export const isPolicy = (name: string) => /^content-security-policy(-report-only)?$/.test(name);

export const isOfConnection = (name: string) => HOP_BY_HOP.has(name);

/** Whether a guest's answer may have it; `name` is in lower case. */
export const isAnswerHeader = (name: string) =>
  OF_AN_ANSWER.has(name) || (FAMILIES.test(name) && !OF_THIS_ORIGIN.test(name));

const OF_AN_UPGRADE = /^(connection|upgrade|sec-websocket-[a-z-]+)$/;

/** Whether it may have it where it agrees to another protocol. */
export const isUpgradeHeader = (name: string) => OF_AN_UPGRADE.test(name) || isAnswerHeader(name);

/**
 * A `Set-Cookie` for the addresses under `prefix` alone: all sessions share one origin, and a browser would bring a
 * cookie of one to another. A path of the program's own lies below the prefix, unless it has it already. Without a
 * prefix it is for the origin that the program has for itself, and no other below the same domain.
 */
export function confinedCookie(cookie: string, prefix: string | null): string {
  const [pair = "", ...attributes] = cookie.split(";");
  if (prefix === null)
    return [pair, ...attributes.filter((attribute) => !/^\s*domain\s*(=|$)/i.test(attribute))].join(";");
  const kept = attributes.filter((attribute) => !/^\s*(domain|path)\s*(=|$)/i.test(attribute));
  const paths = attributes.flatMap((attribute) => /^\s*path\s*=\s*(.*?)\s*$/i.exec(attribute)?.[1] ?? []);
  const path = paths.at(-1) ?? "";
  const own =
    path === prefix || path.startsWith(`${prefix}/`) ? path : `${prefix}${path.startsWith("/") ? path : "/"}`;
  return [pair, ...kept, ` Path=${own}`].join(";");
}

/** What a guest answers is shown as a document of nobody: it must not act as a page of this server. */
export const SANDBOX = "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts";
