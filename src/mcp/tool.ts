/** What a tool is: all answer a text, and what it says as a structure; what the API refuses is a tool's error. */
import type { CallToolResult, McpServer, ServerContext, ToolAnnotations } from "@modelcontextprotocol/server";
import type { z } from "zod";
import { type Api, isRefused } from "./api.ts";

/** The API for one call: with the key that the call came with. */
export type ApiOf = (context: ServerContext) => Api;
export type Tools = { server: McpServer; apiOf: ApiOf };
type Said<Structure> = { content: CallToolResult["content"]; structure: Structure };

type Tool<In extends z.ZodObject, Out extends z.ZodObject> = {
  title: string;
  description: string;
  input: In;
  output: Out;
  annotations: ToolAnnotations;
  call: (args: z.infer<In>, api: Api, context: ServerContext) => Promise<Said<z.infer<Out>>>;
};

export const LOOKS: ToolAnnotations = { readOnlyHint: true, openWorldHint: false };
export const CHANGES: ToolAnnotations = {
  readOnlyHint: false,
  destructiveHint: false,
  openWorldHint: false,
};
export const DELETES: ToolAnnotations = {
  readOnlyHint: false,
  destructiveHint: true,
  idempotentHint: true,
  openWorldHint: false,
};
/** Programs reach the internet, where they may. */
export const RUNS: ToolAnnotations = { readOnlyHint: false, destructiveHint: true, openWorldHint: true };

export type AnyTool = { name: string } & Tool<z.ZodObject, z.ZodObject>;

/** Declared once: a server of the protocol is made for each request. */
export const tool = <In extends z.ZodObject, Out extends z.ZodObject>(
  name: string,
  declared: Tool<In, Out>,
): AnyTool => ({ name, ...declared }) as never;

export function addTool({ server, apiOf }: Tools, declared: AnyTool): void {
  const { name, title, description, input: inputSchema, output: outputSchema, annotations, call } = declared;
  const handler = async (args: object, context: ServerContext): Promise<CallToolResult> => {
    try {
      const { content, structure } = await call(args as never, apiOf(context), context);
      return { content, structuredContent: structure };
    } catch (error) {
      if (!isRefused(error)) throw error;
      return { content: [{ type: "text", text: error.message }], isError: true };
    }
  };
  server.registerTool(name, { title, description, inputSchema, outputSchema, annotations }, handler);
}

export const say = (text: string): CallToolResult["content"] => [{ type: "text", text }];
