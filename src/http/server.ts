/** The HTTP server: rules for all requests here, one file for each resource beside it. */
import Fastify, { type FastifyInstance } from "fastify";
import type { Config } from "../config.ts";
import { Quotas } from "../files/quota.ts";
import type { LoopWatch } from "../lib/loop-watch.ts";
import type { Logger } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import type { OneShots } from "../runs/one-shot.ts";
import type { SessionRegistry } from "../session/registry.ts";
import type { Store } from "../store/store.ts";
import { requireKey } from "./auth.ts";
import { acceptJsonBodies } from "./body.ts";
import { boundConnections } from "./bound-connections.ts";
import { checkAnswers } from "./check-answers.ts";
import { addCode } from "./code.ts";
import { addConnections } from "./connections.ts";
import { allowOrigins } from "./cors.ts";
import { addDocuments } from "./documents.ts";
import { mapErrors } from "./errors.ts";
import { addExecute } from "./execute.ts";
import { addExport } from "./export.ts";
import { addFiles } from "./files.ts";
import { addHealth, type HealthInfo } from "./health.ts";
import { Idempotency } from "./idempotency.ts";
import type { KeyRing } from "./key-ring.ts";
import { addKeys, audit } from "./keys.ts";
import { observe } from "./observe.ts";
import { addProcesses } from "./processes.ts";
import { addProxy, addressIn, isUpgrade } from "./proxy.ts";
import { ProxyDomain } from "./proxy-domain.ts";
import { addRuns } from "./runs.ts";
import { addSessions } from "./sessions.ts";
import { addSetup } from "./setup.ts";
import { addStates } from "./states.ts";
import { addTerminals, isTerminal } from "./terminal.ts";
import { addVariables } from "./variables.ts";

type HttpDependencies = {
  config: Config;
  log: Logger;
  metrics: Metrics;
  store: Store;
  registry: SessionRegistry;
  keys: KeyRing;
  oneShots: OneShots;
  health: HealthInfo;
  loop: LoopWatch;
  /** Clients' connections at the same time. */
  maxConnections: number;
};

const MAX_PARAM_CHARS = 512;
/** For the head of a request to arrive, from when its connection was opened, or from its first byte. */
const HEADERS_MS = 15_000;
const LOOK_FOR_OVERDUE_MS = 5_000;

export async function createHttpServer(deps: HttpDependencies): Promise<FastifyInstance> {
  const { config, registry, store } = deps;
  const domain = config.proxyDomain === undefined ? null : new ProxyDomain(config.proxyDomain);
  const app = Fastify({
    rewriteUrl: (request) => addressIn(request, domain),
    bodyLimit: config.bodyBytes,
    forceCloseConnections: "idle",
    http: {
      shouldUpgradeCallback: (request) => isUpgrade(request, domain) || isTerminal(request, domain),
      headersTimeout: HEADERS_MS,
      connectionsCheckingInterval: LOOK_FOR_OVERDUE_MS,
    },
    requestTimeout: 0, // uploads and bodies for a session's own server take what they take; see body.ts for the others
    routerOptions: { maxParamLength: MAX_PARAM_CHARS, ignoreTrailingSlash: true },
  });
  app.server.on("error", (error) => deps.log.warn({ err: error }, "a connection could not be taken"));
  const closeIdle = boundConnections(app.server, deps.maxConnections);
  app.addHook("preClose", async () => closeIdle());
  nameOperations(app, deps.loop);
  acceptJsonBodies(app);
  mapErrors(app, deps.log, deps.metrics);
  const { keys } = deps;
  await allowOrigins(app, config.corsOrigins);
  const rules = { hasOperatorKey: config.apiKey !== undefined, origins: config.corsOrigins };
  requireKey(app, keys, rules);
  observe(app, deps);
  const idempotency = new Idempotency(store);
  if (config.checkAnswers !== undefined) checkAnswers(app, config.checkAnswers);
  addHealth(app, deps.health);
  addDocuments(app, deps.health.version);
  const sessions = { registry, store, idempotency, config };
  audit(app, store);
  addKeys(app, keys, store);
  addExecute(app, { oneShots: deps.oneShots, idempotency, keys });
  addSessions(app, sessions);
  addStates(app, sessions);
  addVariables(app, registry, keys);
  addExport(app, sessions);
  addCode(app, registry);
  addFiles(app, { registry, store, quotas: new Quotas(), maxFiles: config.limits.diskFiles });
  addProxy(app, { registry, keys, domain, apiKey: config.apiKey, bodyBytes: config.bodyBytes });
  addSetup(app, registry);
  addConnections(app, registry, store);
  addProcesses(app, { registry, store, keys });
  addTerminals(app, { registry, keys, rules, domain });
  addRuns(app, { registry, store, idempotency, keys });
  return app;
}

/** A request is an operation by its route, so that it is known what held up all others. */
function nameOperations(app: FastifyInstance, loop: LoopWatch): void {
  app.addHook("onRequest", (request, reply, done) => {
    reply.raw.once("close", loop.begin(`${request.method} ${request.routeOptions.url ?? "of no route"}`));
    done();
  });
}
