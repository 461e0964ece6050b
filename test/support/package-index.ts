/** A package index of the test's own: wheels for pip (PEP 503), modules for Go, over HTTP on a loopback address. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { lookup } from "node:dns/promises";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";

/**
 * This machine by its name: a loopback address as such is, inside a sandbox, the sandbox itself, for which tools ask no
 * proxy.
 */
const HOST = hostname();

export class PackageIndex implements AsyncDisposable {
  readonly #files: ReadonlyMap<string, Buffer>;
  readonly #server: Server;
  readonly asked: string[] = [];

  private constructor(files: ReadonlyMap<string, Buffer>) {
    this.#files = files;
    this.#server = createServer((request, response) => {
      const path = decodeURIComponent(request.url ?? "");
      this.asked.push(path);
      const content = this.#files.get(path);
      response.writeHead(content === undefined ? 404 : 200, {
        "content-type": path.endsWith("/") ? "text/html" : "application/octet-stream",
      });
      response.end(content);
    });
  }

  static async start(files: Record<string, Buffer | string>): Promise<PackageIndex> {
    const index = new PackageIndex(
      new Map(Object.entries(files).map(([path, content]) => [path, Buffer.from(content)])),
    );
    const { address } = await lookup(HOST, 4);
    assert.match(address, /^127\./, `the name '${HOST}' must be one of this machine's loopback`);
    index.#server.listen(0, address);
    await once(index.#server, "listening");
    return index;
  }

  get url(): string {
    return `http://${HOST}:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

/** Files of an index that holds one pure wheel, with one module of this text. */
export function wheelFiles(name: string, version: string, source: string): Record<string, Buffer | string> {
  const info = `${name}-${version}.dist-info`;
  const wheel = `${name}-${version}-py3-none-any.whl`;
  const content = zip({
    [`${name}.py`]: source,
    [`${info}/METADATA`]: `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n`,
    [`${info}/WHEEL`]: "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    [`${info}/RECORD`]: `${name}.py,,\n${info}/METADATA,,\n${info}/WHEEL,,\n${info}/RECORD,,\n`,
  });
  return {
    [`/simple/${name}/`]: `<!DOCTYPE html><a href="/files/${wheel}">${wheel}</a>`,
    [`/files/${wheel}`]: content,
  };
}

/** Files of a module proxy that holds one version of one module. */
export function goModuleFiles(
  path: string,
  version: string,
  source: string,
): Record<string, Buffer | string> {
  const mod = `module ${path}\n\ngo 1.21\n`;
  const root = `${path}@${version}`;
  const at = `/${path}/@v`;
  return {
    [`${at}/list`]: `${version}\n`,
    [`${at}/${version}.info`]: JSON.stringify({ Version: version, Time: "2024-01-01T00:00:00Z" }),
    [`${at}/${version}.mod`]: mod,
    [`${at}/${version}.zip`]: zip({ [`${root}/go.mod`]: mod, [`${root}/lib.go`]: source }),
  };
}

const ZIP = `import json, sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as archive:
    for name, text in json.load(sys.stdin).items():
        archive.writestr(name, text)`;

function zip(files: Record<string, string>): Buffer {
  const folder = mkdtempSync(join(tmpdir(), "era-zip-"));
  try {
    const target = join(folder, "archive.zip");
    execFileSync("python3", ["-c", ZIP, target], { input: JSON.stringify(files) });
    return readFileSync(target);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
