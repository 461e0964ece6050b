/**
 * What is known of each request afterwards: a line of the log at `info`, and its place in the metrics. What a client
 * sends as `traceparent` is taken over into the log, where it has the form of one.
 */
import type { FastifyInstance, FastifyRequest } from "fastify";
import { metrics as metricsOperation } from "../api/server.ts";
import type { Logger } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { serve } from "./serve.ts";

const TRACE = /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

export function observe(app: FastifyInstance, { metrics, log }: { metrics: Metrics; log: Logger }): void {
  app.addHook("onRequest", async (request, reply) => {
    reply.header("x-request-id", request.id);
  });
  app.addHook("onResponse", async (request, reply) => {
    const operation = nameOf(request);
    const { method } = request;
    const ms = reply.elapsedTime;
    metrics.answered({ operation, method, status: reply.statusCode }, ms);
    if (!log.isLevelEnabled("info")) return;
    const { id, run_id } = (request.params ?? {}) as { id?: string; run_id?: string };
    const trace = request.headers.traceparent;
    const line = {
      request_id: request.id,
      operation,
      method,
      status: reply.statusCode,
      ms: Math.round(ms * 100) / 100,
      ...(id === undefined ? {} : { session: id }),
      ...(run_id === undefined ? {} : { run_id }),
      ...(typeof trace === "string" && TRACE.test(trace) ? { traceparent: trace } : {}),
    };
    log.info(line, "request");
  });
  serve(app, metricsOperation, async ({ reply }) => {
    const text = await metrics.text();
    return reply.type(metrics.contentType).send(text);
  });
}

function nameOf({ routeOptions }: FastifyRequest): string {
  const { operation, label } = routeOptions.config;
  return operation?.id ?? label ?? "none";
}
