/**
 * A thread that ends a program which never gives way: told by the agent, it gives the kernel a moment to notice by
 * itself, then terminates what it executes. Node only; in Deno the agent replaces the kernel.
 */
import inspector from "node:inspector";
import net from "node:net";
import { parentPort, workerData } from "node:worker_threads";

const INTERRUPTS = 5;
const PATIENCE_MS = 100;
const noticed = new Int32Array(workerData);
const session = new inspector.Session();
session.connectToMainThread();

const line = new net.Socket({ fd: INTERRUPTS, readable: true, writable: false });
line.on("data", () => {
  const before = Atomics.load(noticed, 0);
  parentPort.postMessage("notice");
  setTimeout(() => {
    if (Atomics.load(noticed, 0) === before) session.post("Runtime.terminateExecution");
  }, PATIENCE_MS);
});
