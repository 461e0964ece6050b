/** Nodes are looked at by their `type`, as the specification names them. */
// biome-ignore lint/suspicious/noExplicitAny: a tree of some seventy forms, read by name
export function parse(text: string, options: object): any;
