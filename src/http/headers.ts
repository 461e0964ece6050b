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
/** They say what this server's own pages may do, or what becomes of them: that is not a guest's to say. */
const OF_THIS_ORIGIN = new Set(["clear-site-data", "content-security-policy", "service-worker-allowed"]);

export const isOfConnection = (name: string) => HOP_BY_HOP.has(name);

/** Whether a guest's answer may have it; `name` is in lower case. */
export const isAnswerHeader = (name: string) => !HOP_BY_HOP.has(name) && !OF_THIS_ORIGIN.has(name);

/** What a guest answers is shown as a document of nobody: it must not act as a page of this server. */
export const SANDBOX = "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts";
