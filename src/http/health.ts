/** GET /health: that the server answers, and which isolation is in force. Without a key. */
import type { FastifyInstance } from "fastify";
import type { Facility } from "../sandbox/probe.ts";
import type { ImagingSupport } from "../session/live-sandbox.ts";
import type { SandboxPool } from "../session/pool.ts";

export type HealthInfo = {
  version: string;
  facilities: readonly Facility[];
  imaging: ImagingSupport;
  image: string;
  pool: SandboxPool;
};

export function addHealth(
  app: FastifyInstance,
  { version, facilities, imaging, image, pool }: HealthInfo,
): void {
  const isolation = Object.fromEntries(
    facilities.map(({ name, state, detail }) => [name, { state, detail }]),
  );
  app.get("/health", async () => {
    const now = new Date().toISOString();
    return {
      status: "healthy",
      version,
      time: now,
      timestamp: now,
      image,
      sandboxes: pool.counts,
      isolation,
      imaging,
    };
  });
}
