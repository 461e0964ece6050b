/**
 * Pages of other origins that may use the API, as ERA_CORS_ORIGINS names them. Public addresses are not concerned: the
 * program that listens there says who may read its answers.
 */
import cors from "@fastify/cors";
import type { FastifyInstance } from "fastify";

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/** What a page may read of an answer besides its body. */
const EXPOSED = ["x-run-id", "x-request-id", "retry-after", "content-range", "mcp-session-id"];
/** For which a browser remembers what it was told. */
const MAX_AGE_SECONDS = 600;

/** Resolves when requests are looked at: what refuses them comes after. */
export async function allowOrigins(app: FastifyInstance, origins: readonly string[]): Promise<void> {
  if (origins.length === 0) return;
  const origin = origins.includes("*") ? "*" : [...origins];
  const ours = {
    origin,
    methods: METHODS,
    exposedHeaders: EXPOSED,
    maxAge: MAX_AGE_SECONDS,
    strictPreflight: false,
  };
  await app.register(cors, {
    delegator: (request, decide) =>
      decide(
        null,
        request.routeOptions.config.label === "proxy" ? { origin: false, preflight: false } : ours,
      ),
  });
}
