/**
 * A program as the session evaluates it: TypeScript without its types, imports as awaited calls, and top-level
 * declarations such that any name may be declared again in a later run, whatever it was before. Lines stay where they
 * are.
 */
import { stripTypeScriptTypes } from "node:module";
import { parse } from "./vendor/acorn.mjs";

/** What stands in the session's global scope for a dynamic import. */
export const IMPORT = "__import__";
const OPTIONS = {
  ecmaVersion: "latest",
  sourceType: "script",
  allowAwaitOutsideFunction: true,
  allowImportExportEverywhere: true,
  allowHashBang: true,
  allowSuperOutsideMethod: true,
};
/** How the remover of types shows where it stopped: the line's number, its text, a mark below. */
const PLACE = /^[^\n]*:(\d+)\n(?:[\s\S]*?\n)??([^\n]*)\n( *\^+)\n/;
const WORD = /[\p{ID_Start}$_][\p{ID_Continue}$]*/gu;

/** All that can be a name in a text. */
export const wordsOf = (text) => new Set(text.match(WORD));

/** Deno leaves nothing of one for later runs: it is made an ordinary one. */
const CONST_ENUM = /^([ \t]*(?:export[ \t]+)?)const([ \t]+enum\b)/gm;

/** JavaScript from TypeScript. Throws SyntaxError. */
export function stripTypes(code) {
  try {
    return stripTypeScriptTypes(code, { mode: "strip" });
  } catch (error) {
    if (error.code !== "ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX" && globalThis.Deno === undefined)
      throw asSyntaxError(error);
  }
  try {
    const ordinary = globalThis.Deno === undefined ? code : code.replace(CONST_ENUM, "$1     $2");
    return stripTypeScriptTypes(ordinary, { mode: "transform" });
  } catch (error) {
    throw asSyntaxError(error);
  }
}

function asSyntaxError(error) {
  const mended = new SyntaxError(
    error.message.split("\n").find((line) => line.trim() !== "") ?? "invalid TypeScript",
  );
  const [, line, text, mark] = PLACE.exec(error.stack) ?? [];
  const place = line === undefined ? "" : `\n    at line ${line}:\n${text}\n${mark}`;
  mended.stack = `SyntaxError: ${error.message}${place}`;
  return mended;
}

/** Whether a class has private static fields whose values may change: nobody but the class itself sees them. */
export function changesStatics(source) {
  if (!/\bstatic\s+#/.test(source)) return false;
  const body = parseScript(`(${source}\n)`)?.body[0]?.expression?.body?.body ?? [];
  const fields = body.filter(
    ({ type, static: isStatic, key }) =>
      type === "PropertyDefinition" && isStatic && key.type === "PrivateIdentifier",
  );
  if (fields.some(({ value }) => value !== null && !isConstant(value))) return true;
  const names = new Set(fields.map(({ key }) => key.name));
  const changes = (node) => {
    const property = (node.type === "AssignmentExpression" ? node.left : node.argument)?.property;
    return property?.type === "PrivateIdentifier" && names.has(property.name);
  };
  return body.some((member) => walk(member).some((node) => CHANGES.test(node.type) && changes(node)));
}

const CHANGES = /^(?:Assignment|Update)Expression$/;

/**
 * What a function has of the place where it was made, beside variables, and loses when it is made again from its
 * source: an arrow function's `this`, `arguments` and `new.target`, a method's `super`. null when it uses none.
 */
export function boundToPlace(source) {
  const canBe =
    /\bsuper\b/.test(source) || (source.includes("=>") && /\b(?:this|arguments|target)\b/.test(source));
  if (!canBe) return null;
  const made = parseScript(`(${source}\n)`)?.body[0]?.expression;
  const isArrow = made?.type === "ArrowFunctionExpression";
  const method = made ?? parseScript(`({${source}\n})`)?.body[0]?.expression?.properties?.[0]?.value;
  if (method === undefined || (!isArrow && made !== undefined)) return null;
  for (const node of walk(method, hasItsOwnThis)) {
    const bound = boundBy(node);
    if (bound === "super" || (isArrow && bound !== null)) return bound;
  }
  return null;
}

function boundBy(node) {
  switch (node.type) {
    case "Super":
      return "super";
    case "ThisExpression":
      return "this";
    case "MetaProperty":
      return node.meta.name === "new" ? "new.target" : null;
    case "Identifier":
      return node.name === "arguments" ? "arguments" : null;
    default:
      return null;
  }
}

const hasItsOwnThis = ({ type }) => /^(?:Function|Class)/.test(type) || type === "StaticBlock";

function isConstant(node) {
  switch (node.type) {
    case "Literal":
      return true;
    case "UnaryExpression":
      return isConstant(node.argument);
    case "BinaryExpression":
      return isConstant(node.left) && isConstant(node.right);
    case "TemplateLiteral":
      return node.expressions.every(isConstant);
    default:
      return /FunctionExpression$/.test(node.type);
  }
}

/** An expression or program as a tree; null when acorn does not know its syntax. */
export function parseScript(code) {
  try {
    return parse(code, OPTIONS);
  } catch {
    return null; // the engine says what is wrong with it, or runs what is newer than acorn
  }
}

/**
 * Prepares a program. `kinds` tells, and is told, what each top-level name of the session is: "lexical" (let, const,
 * class) or "global" (var, function, undeclared). Answers {code, endsInValue}.
 */
export function prepare(code, kinds) {
  const tree = parseScript(code);
  if (tree === null) return { code, endsInValue: false, isParsed: false };
  const edits = new Edits(code);
  for (const statement of tree.body) prepareStatement(statement, kinds, edits);
  for (const node of walk(tree)) {
    if (node.type === "ImportExpression") edits.replace(node.start, node.start + "import".length, IMPORT);
    else if (node.type === "MetaProperty" && node.meta.name === "import")
      edits.replace(node.start, node.end, `${IMPORT}.meta`);
  }
  return { code: edits.apply(), endsInValue: isValue(tree.body.findLast(hasValue)), isParsed: true };
}

/** A bare `var x;` leaves the value of what is before it: the types' transformation puts some at the end. */
const hasValue = ({ type, kind, declarations }) =>
  type !== "VariableDeclaration" || kind !== "var" || declarations.some(({ init }) => init !== null);

/** Whether a program ends with a statement whose value is worth telling. */
function isValue(statement) {
  return (
    statement?.type === "ExpressionStatement" &&
    statement.expression.type !== "AssignmentExpression" &&
    !/^use /.test(statement.directive ?? "")
  );
}

function prepareStatement(statement, kinds, edits) {
  switch (statement.type) {
    case "ImportDeclaration":
      return edits.replace(statement.start, statement.end, importAsCall(statement, kinds));
    case "ExportNamedDeclaration":
    case "ExportDefaultDeclaration":
      return prepareExport(statement, kinds, edits);
    case "ExportAllDeclaration":
      return edits.replace(statement.start, statement.end, `await ${IMPORT}(${statement.source.raw});`);
    case "VariableDeclaration":
      return prepareVariables(statement, kinds, edits);
    case "FunctionDeclaration":
    case "ClassDeclaration":
      return prepareNamed(statement, kinds, edits);
    default:
      prepareNestedVars(statement, kinds, edits);
  }
}

/** Nobody imports a program: what it exports is declared. */
function prepareExport(statement, kinds, edits) {
  const { declaration } = statement;
  if (!declaration) {
    if (statement.source)
      edits.replace(statement.start, statement.end, `await ${IMPORT}(${statement.source.raw});`);
    else edits.replace(statement.start, statement.end, "");
    return;
  }
  const isNamed =
    declaration.type.endsWith("Declaration") &&
    (declaration.type === "VariableDeclaration" || declaration.id !== null);
  edits.replace(statement.start, declaration.start, isNamed ? "" : "void ");
  if (isNamed) prepareStatement(declaration, kinds, edits);
}

function importAsCall({ specifiers, source, attributes = [] }, kinds) {
  const options = attributes.map(({ key, value }) => `${key.name ?? key.raw}: ${value.raw}`).join(", ");
  const call = `await ${IMPORT}(${source.raw}${options === "" ? "" : `, { with: { ${options} } }`})`;
  if (specifiers.length === 0) return `${call};`;
  for (const { local } of specifiers) kinds.set(local.name, kinds.get(local.name) ?? "lexical");
  const space = specifiers.find(({ type }) => type === "ImportNamespaceSpecifier")?.local.name;
  const named = specifiers.filter(({ type }) => type !== "ImportNamespaceSpecifier").map(boundName);
  const keyword = specifiers.some(({ local }) => kinds.get(local.name) === "global") ? "var" : "let";
  if (named.length === 0) return `${keyword} ${space} = ${call};`;
  const whole = space === undefined ? "" : `let ${space} = ${call}; `;
  return `${whole}${keyword} { ${named.join(", ")} } = ${call};`;
}

function boundName({ type, local, imported }) {
  const name = type === "ImportDefaultSpecifier" ? "default" : (imported.raw ?? imported.name);
  return `${name}: ${local.name}`;
}

/** `const` becomes `let`, so that it can be declared again; a name keeps its kind for the life of the session. */
function prepareVariables(statement, kinds, edits) {
  const names = statement.declarations.flatMap(({ id }) => namesOf(id));
  const wanted = statement.kind === "var" ? "global" : "lexical";
  const known = new Set(names.map((name) => kinds.get(name) ?? wanted));
  for (const name of names) if (!kinds.has(name)) kinds.set(name, wanted);
  if (known.size > 1) return splitVariables(statement, kinds, edits);
  const kind = known.has("global") ? "var" : "let";
  if (wanted === "global" && kind === "let") return assignInstead(statement, edits);
  const { start } = statement;
  if (statement.kind !== kind) edits.replace(start, start + statement.kind.length, kind);
}

/** Makes a statement for each name of a declaration whose names have different kinds. */
function splitVariables(statement, kinds, edits) {
  for (const [at, declarator] of statement.declarations.entries()) {
    const isGlobal = namesOf(declarator.id).some((name) => kinds.get(name) === "global");
    const from = at === 0 ? statement.start : statement.declarations[at - 1].end;
    // Declared again without a value it keeps the one it has.
    if (statement.kind === "var" && !isGlobal && declarator.init === null) {
      edits.replace(from, declarator.end, ";");
      continue;
    }
    edits.replace(from, declarator.start, `${at === 0 ? "" : ";"}${isGlobal ? "var" : "let"} `);
  }
}

/** `var` of a name that is lexical already: declared again it keeps its value. */
function assignInstead(statement, edits, isInList = true) {
  let from = statement.start;
  // Apart from the statement before, which may have no semicolon; where only one statement may stand, as one.
  edits.insert(from, isInList ? ";" : "{");
  if (!isInList) edits.insert(statement.end, "}");
  for (const { id, init, start, end } of statement.declarations) {
    edits.replace(from, start, from === statement.start ? "" : ";");
    if (init === null) edits.replace(start, end, "");
    else if (id.type === "ObjectPattern") {
      edits.insert(start, "(");
      edits.insert(end, ")");
    }
    from = end;
  }
}

function prepareNamed(statement, kinds, edits) {
  const { name } = statement.id;
  const wanted = statement.type === "FunctionDeclaration" ? "global" : "lexical";
  const kind = kinds.get(name) ?? wanted;
  kinds.set(name, kind);
  if (kind === wanted) return;
  edits.insert(statement.start, kind === "global" ? `var ${name} = ` : `${name} = `);
  edits.insert(statement.end, ";");
}

/** `var` in blocks and loops is the session's too. */
function prepareNestedVars(statement, kinds, edits) {
  const inHeads = new Set();
  const inLists = new Set();
  for (const node of walk(statement, isFunction)) {
    if (/^For/.test(node.type)) inHeads.add(node.init ?? node.left);
    for (const child of [node.body, node.consequent].filter(Array.isArray).flat()) inLists.add(child);
    if (node.type !== "VariableDeclaration" || node.kind !== "var") continue;
    const names = node.declarations.flatMap(({ id }) => namesOf(id));
    const isLexical = names.some((name) => kinds.get(name) === "lexical");
    if (!isLexical) setKinds(names, kinds, "global");
    else if (inHeads.has(node)) edits.replace(node.start, node.declarations[0].start, "");
    else assignInstead(node, edits, inLists.has(node));
  }
}

function setKinds(names, kinds, kind) {
  for (const name of names) kinds.set(name, kind);
}

const isFunction = (node) => /Function/.test(node.type) || node.type === "StaticBlock";

/** Names that a pattern binds. */
function namesOf(pattern) {
  switch (pattern?.type) {
    case "Identifier":
      return [pattern.name];
    case "ObjectPattern":
      return pattern.properties.flatMap((part) =>
        namesOf(part.type === "RestElement" ? part.argument : part.value),
      );
    case "ArrayPattern":
      return pattern.elements.flatMap(namesOf);
    case "AssignmentPattern":
      return namesOf(pattern.left);
    case "RestElement":
      return namesOf(pattern.argument);
    default:
      return [];
  }
}

/**
 * All nodes of a tree, but for what is inside those that `closes` names.
 * @param {(node: any) => boolean} closes
 */
export function* walk(root, closes = () => false) {
  const pending = [root];
  while (pending.length > 0) {
    const node = pending.pop();
    yield node;
    if (node !== root && closes(node)) continue;
    // One by one: a list may have more items than a call may have arguments.
    for (const child of Object.values(node).flat()) if (isNode(child)) pending.push(child);
  }
}

const isNode = (value) => typeof value?.type === "string" && typeof value.start === "number";

/** Replacements in a text. */
export class Edits {
  #text;
  #edits = [];

  constructor(text) {
    this.#text = text;
  }

  replace(start, end, text) {
    // As many lines as before, so that errors name the right ones.
    const lines = this.#text.slice(start, end).split("\n").length - text.split("\n").length;
    this.#edits.push({ start, end, text: text + "\n".repeat(Math.max(0, lines)) });
  }

  insert(at, text) {
    this.#edits.push({ start: at, end: at, text });
  }

  apply() {
    let made = "";
    let from = 0;
    for (const { start, end, text } of this.#edits.toSorted((a, b) => a.start - b.start || a.end - b.end)) {
      if (start < from) continue; // inside of what was replaced as a whole
      made += this.#text.slice(from, start) + text;
      from = end;
    }
    return made + this.#text.slice(from);
  }
}
