/** GET …/connections: what a session has asked of the internet, and what became of it. */
import type { FastifyInstance } from "fastify";
import { listConnections } from "../api/network.ts";
import type { EgressRecord } from "../protocol/egress.ts";
import type { SessionRegistry } from "../session/registry.ts";
import type { Store } from "../store/store.ts";
import { serve } from "./serve.ts";

const DEFAULT_LIMIT = 100;

export function addConnections(app: FastifyInstance, registry: SessionRegistry, store: Store): void {
  serve(app, listConnections, async ({ params, query: { limit, cursor } }) => {
    const { row } = await registry.get(params.id);
    const page = await store.listEgress(row.id, { limit: limit ?? DEFAULT_LIMIT, cursor: cursor ?? null });
    const totals = await store.egressTotals(row.id);
    return {
      connections: page.items.map(viewConnection),
      totals: {
        connections: totals.connections,
        refused: totals.refused,
        bytes_sent: totals.sentBytes,
        bytes_received: totals.receivedBytes,
      },
      next_cursor: page.cursor,
    };
  });
}

const viewConnection = (record: EgressRecord) => ({
  at: record.at,
  host: record.host,
  port: record.port,
  refused: record.refused,
  bytes_sent: record.sentBytes,
  bytes_received: record.receivedBytes,
  duration_ms: record.durationMs,
});
