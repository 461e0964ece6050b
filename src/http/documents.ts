/** The API about itself: /openapi.json for programs, /reference for people. Both are made when first asked for. */
import type { FastifyInstance } from "fastify";
import { openApiDocument } from "../api/openapi.ts";
import { referencePage } from "../api/reference.ts";
import * as api from "../api/server.ts";
import { serve } from "./serve.ts";

/** Nothing of the page may load or send anything. */
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

export function addDocuments(app: FastifyInstance, version: string): void {
  let document: Record<string, unknown> | null = null;
  const made = () => {
    document ??= openApiDocument(version);
    return document;
  };
  let page: string | null = null;
  serve(app, api.openapi, async () => made());
  serve(app, api.reference, async ({ reply }) => {
    page ??= referencePage(made());
    return reply
      .type(api.reference.answers[200].type)
      .header("content-security-policy", POLICY)
      .header("x-content-type-options", "nosniff")
      .send(page);
  });
}
