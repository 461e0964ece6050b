/** Servers that stand for the internet, for a private network, and for the metadata service of a cloud. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startNameServer } from "./name-server.ts";

/** All of them lie on the loopback interface of a network that the test has made. */
export const ADDRESSES = {
  public: "93.184.215.14",
  other: "93.184.215.15",
  private: "10.0.0.1",
  shared: "100.64.0.1",
  metadata: "169.254.169.254",
} as const;

const NAMES: Readonly<Record<string, readonly string[]>> = {
  "site.test": [ADDRESSES.public],
  "api.site.test": [ADDRESSES.public],
  "other.test": [ADDRESSES.other],
  "private.test": [ADDRESSES.private],
  "metadata.test": [ADDRESSES.metadata],
  "loopback.test": ["127.0.0.1"],
  "mixed.test": [ADDRESSES.public, ADDRESSES.private],
};

export type Internet = AsyncDisposable & {
  /** What reached a server that no session may reach. */
  intrusions: string[];
};

export async function startInternet(): Promise<Internet> {
  const intrusions: string[] = [];
  const servers: Server[] = [];
  let turn = 0;
  const names = await startNameServer("127.0.0.1", (name) => {
    if (name === "rebind.test") return [turn++ % 2 === 0 ? ADDRESSES.public : ADDRESSES.private];
    return [...(NAMES[name] ?? [])];
  });
  const listen = async (server: Server, address: string, port: number) => {
    server.listen(port, address);
    await once(server, "listening");
    servers.push(server);
  };
  for (const address of [ADDRESSES.public, ADDRESSES.other]) {
    await listen(createServer(site), address, 80);
    await listen(createServer(site), address, 8443);
    await listen(createTlsServer(certificate(), site) as unknown as Server, address, 443);
  }
  const closed: RequestListener = (request, response) => {
    const { address, port } = request.socket.address() as AddressInfo;
    intrusions.push(`${address}:${port}${request.url}`);
    response.end("secret");
  };
  for (const address of [ADDRESSES.private, ADDRESSES.shared, ADDRESSES.metadata, "127.0.0.1"])
    await listen(createServer(closed), address, 80);
  const mail = createTcpServer((socket) => {
    intrusions.push("a port for mail");
    socket.end();
  });
  await listen(mail as unknown as Server, ADDRESSES.public, 25);
  return {
    intrusions,
    [Symbol.asyncDispose]: async () => {
      names.close();
      for (const server of servers) {
        if ("closeAllConnections" in server) server.closeAllConnections?.();
        server.close();
      }
    },
  };
}

const site: RequestListener = (request, response) => {
  const url = new URL(request.url ?? "/", "http://site.test");
  const to = url.searchParams.get("to");
  if (url.pathname === "/redirect" && to !== null) {
    response.writeHead(302, { location: to }).end();
  } else if (url.pathname === "/slow") {
    response.write("begun\n");
    const timer = setInterval(() => response.write("more\n"), 50);
    response.once("close", () => clearInterval(timer));
  } else {
    response.end(`${request.method} ${request.headers.host} ${url.pathname}`);
  }
};

function certificate(): { key: Buffer; cert: Buffer } {
  const folder = mkdtempSync(join(tmpdir(), "era-tls-"));
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  execFileSync(
    "openssl",
    [
      ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(" "),
      "-subj",
      "/CN=site.test",
      "-keyout",
      key,
      "-out",
      cert,
    ],
    { stdio: "ignore" },
  );
  return { key: readFileSync(key), cert: readFileSync(cert) };
}
