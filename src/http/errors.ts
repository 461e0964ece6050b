/** Every failure as an answer: expected refusals from the catalogue, all else as `internal` with a request id. */
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Logger } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { AppError, shortageError } from "../protocol/errors.ts";
import { OwnershipLost, StoreUnavailable } from "../store/store.ts";
import { localText, OPERATOR, type Tenant } from "./tenant.ts";

const RETRY_AFTER_SECONDS = "1";

export function mapErrors(app: FastifyInstance, log: Logger, metrics: Metrics): void {
  app.addHook("onError", async (request, _reply, error) => {
    metrics.refused(asRefusal(error, request)?.code ?? "internal");
  });
  const routes = rememberRoutes(app);
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const refusal = asRefusal(error, request);
    // A client that still sends would see a broken connection instead of the answer: what it sends is read and dropped.
    if (refusal?.code === "body_too_large") {
      reply.removeHeader("connection");
      request.raw.resume();
    }
    if (refusal !== null) return sendRefusal(reply, refusal, request.tenant);
    if (reply.raw.destroyed) return; // the client is gone, and with it whoever could be told
    log.error({ err: error, request_id: request.id, url: request.url }, "a request failed");
    const internal = new AppError("internal", "The server failed to answer", {
      details: { request_id: request.id },
    });
    return sendRefusal(reply, internal);
  });
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split("?")[0] ?? "";
    const methods = routes.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method);
    if (methods.length === 0)
      return sendRefusal(reply, new AppError("route_not_found", `Cannot find '${path.slice(0, 200)}'`));
    reply.header("allow", [...new Set(methods)].join(", "));
    return sendRefusal(
      reply,
      new AppError("method_not_allowed", `Cannot ${request.method} '${path}'`, {
        hint: `Use ${methods.join(" or ")}`,
      }),
    );
  });
}

/** Fastify answers 404 for a known path with another method; a client is helped more by 405. */
function rememberRoutes(app: FastifyInstance): { pattern: RegExp; method: string }[] {
  const routes: { pattern: RegExp; method: string }[] = [];
  app.addHook("onRoute", (route) => {
    if (route.url === "*") return; // answers what pages ask before a request
    const path = route.url.replace(/:[^/]+/g, "[^/]+").replace(/\*$/, ".+");
    const pattern = new RegExp(`^${path}/?$`);
    for (const method of [route.method].flat()) if (method !== "HEAD") routes.push({ pattern, method });
  });
  return routes;
}

function asRefusal(error: FastifyError, request: FastifyRequest): AppError | null {
  if (error instanceof AppError) return error;
  if (error instanceof StoreUnavailable)
    return new AppError("store_unavailable", `Cannot answer: ${error.message}`, { cause: error });
  if (error instanceof OwnershipLost)
    return new AppError("session_elsewhere", `Cannot answer: ${error.message}`, { cause: error });
  const shortage = shortageError("answer", error);
  if (shortage !== null) return shortage;
  if (error.code === "FST_ERR_CTP_BODY_TOO_LARGE") {
    return new AppError(
      "body_too_large",
      `Cannot take the body: it has more than ${request.routeOptions.bodyLimit} bytes`,
    );
  }
  if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500) {
    return new AppError("invalid_request", `Cannot read the request: ${error.message}`);
  }
  return null;
}

/** With the names that the client has for its sessions; of a request before it was known whose, with none. */
function sendRefusal(reply: FastifyReply, refusal: AppError, tenant: Tenant = OPERATOR): FastifyReply {
  if (refusal.retryable) reply.header("retry-after", RETRY_AFTER_SECONDS);
  const body = Object.entries(refusal.toBody()).map(([name, value]) => [
    name,
    typeof value === "string" ? localText(tenant, value) : value,
  ]);
  return reply.status(refusal.status).send(Object.fromEntries(body));
}
