/**
 * Names of sessions. A session of a key of the API has two: the one that the key's holder gave it, and the server's, in
 * which the key's id comes before it. They differ for nobody else.
 */
const SERVER_NAME = /^k[a-z0-9]{8}\.[A-Za-z0-9_:-]{1,128}$/;

/** Whether a text is the server's name of a key's session. */
export const isServerName = (text: string): boolean => SERVER_NAME.test(text);

/** The name that a session has for whoever it belongs to. */
export const localName = (name: string): string => name.slice(name.indexOf(".") + 1);

/** The id of the key that a session is of, from the server's name of it; empty for the operator's. */
export const keyIn = (name: string): string => (name.includes(".") ? name.slice(0, name.indexOf(".")) : "");
