/** POST /api/execute: one program in a sandbox of its own. */
import type { FastifyInstance } from "fastify";
import { execute } from "../api/execute.ts";
import { timeoutMsOf } from "../api/fields.ts";
import { parseLanguage } from "../protocol/languages.ts";
import type { OneShots } from "../runs/one-shot.ts";
import { DEFAULT_TIMEOUT_MS } from "../runs/request.ts";
import { DEFAULTS } from "../session/new-row.ts";
import type { Idempotency } from "./idempotency.ts";
import { refuseInternet } from "./key-limits.ts";
import type { KeyRing } from "./key-ring.ts";
import { refuseWrongCheck } from "./runs.ts";
import { serveOnce } from "./serve.ts";
import { viewOneShot } from "./views.ts";

type ExecuteRoutes = { oneShots: OneShots; idempotency: Idempotency; keys: KeyRing };

export function addExecute(app: FastifyInstance, { oneShots, idempotency, keys }: ExecuteRoutes): void {
  serveOnce(app, idempotency, execute, ({ body, request, reply }) => {
    refuseInternet(request.tenant, body);
    const language = parseLanguage(body.language);
    refuseWrongCheck(body.check, language);
    return {
      scope: "/api/execute",
      work: async () => {
        keys.countRun(request.tenant);
        const gone = new AbortController();
        // With a key the answer is recorded, and a retry may come for it.
        if (request.headers["idempotency-key"] === undefined) reply.raw.once("close", () => gone.abort());
        const asked = {
          code: body.code,
          language,
          timeoutMs: timeoutMsOf(body) ?? DEFAULT_TIMEOUT_MS,
          env: { ...body.envs, ...body.env },
          stdin: body.stdin ?? null,
          files: new Map(Object.entries(body.files ?? {})),
          check: body.check ?? false,
          outputs: body.outputs ?? [],
          allowInternetAccess: body.allowInternetAccess ?? DEFAULTS.allowInternetAccess,
        };
        const result = await oneShots.run(asked, gone.signal);
        return viewOneShot(result, language);
      },
    };
  });
}
