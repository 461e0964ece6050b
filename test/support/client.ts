/** A plain client of the HTTP API, as a user would write one. */
import assert from "node:assert/strict";

// biome-ignore lint/suspicious/noExplicitAny: answers are looked at field by field, as a script in JavaScript would
export type Body = any;
export type Answer = { status: number; headers: Headers; body: Body };

export class Client {
  url: string;
  readonly headers: Record<string, string>;
  /** Called before each run of a session, with the session's path. */
  beforeRun: (path: string) => Promise<void> = async () => undefined;

  constructor(url: string, headers: Record<string, string> = {}) {
    this.url = url;
    this.headers = headers;
  }

  /** Sends a value as JSON, or a string as it is. */
  async call(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const response = await fetch(this.url + path, {
      method,
      headers: { ...this.headers, ...headers },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      body: text === "" ? null : JSON.parse(text),
    };
  }

  /** The body of an answer that must have this status. */
  async expect(status: number, method: string, path: string, body?: unknown): Promise<Body> {
    const answer = await this.call(method, path, body);
    assert.equal(answer.status, status, `${method} ${path}: ${JSON.stringify(answer.body).slice(0, 2000)}`);
    return answer.body;
  }

  async create(id: string, fields: object = {}): Promise<SessionClient> {
    await this.expect(201, "POST", "/api/sessions", { session_id: id, language: "python", ...fields });
    return this.session(id);
  }

  session(id: string): SessionClient {
    return new SessionClient(this, id);
  }

  execute(code: string, fields: object = {}): Promise<Body> {
    return this.expect(200, "POST", "/api/execute", { code, language: "python", ...fields });
  }
}

export class SessionClient {
  readonly client: Client;
  readonly id: string;
  readonly path: string;

  constructor(client: Client, id: string) {
    this.client = client;
    this.id = id;
    this.path = `/api/sessions/${id}`;
  }

  async run(code: string, fields: object = {}): Promise<Body> {
    await this.client.beforeRun(this.path);
    return this.client.expect(200, "POST", `${this.path}/run`, { code, ...fields });
  }

  /** Runs a program that must succeed, say nothing on standard error, and print exactly this. */
  async prints(expected: string, code: string, fields: object = {}): Promise<Body> {
    const answer = await this.run(code, fields);
    assert.deepEqual(
      { stdout: answer.stdout, stderr: answer.stderr, exit_code: answer.exit_code },
      { stdout: expected, stderr: "", exit_code: 0 },
    );
    return answer;
  }

  /** Runs a program that must fail with this text on standard error. */
  async fails(pattern: RegExp, code: string, fields: object = {}): Promise<Body> {
    const answer = await this.run(code, fields);
    assert.match(answer.stderr, pattern);
    assert.equal(answer.exit_code, 1);
    return answer;
  }

  get(): Promise<Body> {
    return this.client.expect(200, "GET", this.path);
  }

  hibernate(): Promise<Body> {
    return this.client.expect(200, "POST", `${this.path}/hibernate`);
  }

  patch(fields: object): Promise<Body> {
    return this.client.expect(200, "PATCH", this.path, fields);
  }

  delete(): Promise<Body> {
    return this.client.expect(200, "DELETE", this.path);
  }
}
