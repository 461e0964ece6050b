/** Addresses outside, and the ways out that the server itself keeps. */
import { type Probe, type ProbeGroup, probe } from "./probe.ts";

const UNREACHABLE = /^REFUSED (ENETUNREACH|EHOSTUNREACH|EADDRNOTAVAIL|EINVAL|EACCES|ECONNREFUSED)/;

const ADDRESSES: Readonly<Record<string, string>> = {
  "an address of the internet": "192.0.2.1",
  "a well-known resolver": "8.8.8.8",
  "the metadata address": "169.254.169.254",
  "a metadata address of tasks": "169.254.170.2",
  "a private network, 10/8": "10.0.0.1",
  "a private network, 172.16/12": "172.17.0.1",
  "a private network, 192.168/16": "192.168.0.1",
  "a carrier's network": "100.100.100.200",
  "a multicast address": "224.0.0.1",
  "the broadcast address": "255.255.255.255",
  "an address of IPv6": "2001:db8::1",
  "a metadata address of IPv6": "fd00:ec2::254",
  "a unique local address": "fd00::1",
  "a link-local address": "fe80::1",
  "an address of IPv4 in IPv6": "::ffff:192.0.2.1",
};

const addresses: Probe[] = Object.entries(ADDRESSES).map(([title, address]) =>
  probe(title, `socket.create_connection((${JSON.stringify(address)}, 80), 2)`, UNREACHABLE),
);
const datagrams: Probe[] = Object.entries(ADDRESSES)
  .filter(([, address]) => !address.includes(":"))
  .map(([title, address]) =>
    probe(
      `a datagram: ${title}`,
      `socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (${JSON.stringify(address)}, 53))`,
      UNREACHABLE,
    ),
  );

/** What the way out answers, while the rule lets nothing out. */
const ASK = `def ask(text):
    way = socket.socket(socket.AF_UNIX); way.settimeout(5); way.connect("/run/era/egress.sock")
    way.sendall(text.replace("|", "\\r\\n").encode())
    said = way.recv(4096)
    if b" 200 " in said.split(b"\\n")[0]: return said
    raise PermissionError(1, said[:40])`;
const REQUESTS: Readonly<Record<string, string>> = {
  "a tunnel": "CONNECT example.org:443 HTTP/1.1|Host: example.org:443||",
  "a tunnel to the metadata address": "CONNECT 169.254.169.254:80 HTTP/1.1|Host: 169.254.169.254||",
  "a tunnel to the host's loopback": "CONNECT 127.0.0.1:22 HTTP/1.1|Host: 127.0.0.1:22||",
  "a tunnel by a number": "CONNECT 2130706433:80 HTTP/1.1|Host: 2130706433||",
  "a tunnel by an octal number": "CONNECT 0177.0.0.1:80 HTTP/1.1|Host: 0177.0.0.1||",
  "a tunnel to loopback in IPv6": "CONNECT [::ffff:127.0.0.1]:80 HTTP/1.1|Host: [::1]||",
  "a plain request": "GET http://example.org/ HTTP/1.1|Host: example.org||",
  "a request that names two hosts": "GET http://example.org/ HTTP/1.1|Host: example.org|Host: localhost||",
  "a request of two lengths":
    "POST http://example.org/ HTTP/1.1|Host: example.org|Content-Length: 5|Transfer-Encoding: chunked||0||",
  "a request without a host": "GET / HTTP/1.0||",
};
const byProxy: Probe[] = Object.entries(REQUESTS).map(([title, text]) =>
  probe(`by the way out: ${title}`, `ask(${JSON.stringify(text)})`, /^REFUSED/, ASK),
);

const others: Probe[] = [
  probe("a name", `socket.getaddrinfo("example.org", 80)`, /^REFUSED/),
  probe(
    "interfaces besides its own loopback",
    `[name for _, name in socket.if_nameindex() if name != "lo"] or none()`,
    /^REFUSED ENOENT/,
  ),
  probe("routes out", `len(open("/proc/net/route").readlines()) > 1 or none()`, /^REFUSED ENOENT/),
  probe(
    "connections of the host",
    `[l for l in open("/proc/net/tcp").readlines()[1:] if "0100007F" not in l] or none()`,
    /^REFUSED ENOENT/,
  ),
  probe(
    "sockets of the host's file system",
    `[l for l in open("/proc/net/unix") if "/run/dbus" in l or "systemd" in l] or none()`,
    /^REFUSED ENOENT/,
  ),
  probe(
    "an address on its interface",
    `subprocess.run(["ip", "link", "add", "x", "type", "dummy"], check=True, capture_output=True)`,
    /^REFUSED (CalledProcessError|ENOENT)/,
  ),
];

export const NETWORK: ProbeGroup[] = [
  { name: "addresses outside", probes: [...addresses, ...datagrams] },
  { name: "the way out, while it is closed", probes: byProxy },
  { name: "other ways to the network", probes: others },
];
