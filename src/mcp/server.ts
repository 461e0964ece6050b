/** What a model can do with this server: tools and resources, each a call of the API. */
import { McpServer } from "@modelcontextprotocol/server";
import { FILE_TOOLS } from "./file-tools.ts";
import { PROCESS_TOOLS } from "./process-tools.ts";
import { addResources } from "./resources.ts";
import { RUN_TOOLS } from "./run-tools.ts";
import { SESSION_TOOLS } from "./session-tools.ts";
import { type ApiOf, addTool } from "./tool.ts";

const INSTRUCTIONS = `Runs code in isolated sandboxes. For work of more than one step use a session: choose an id, call era_run_in_session with it again and again; variables, imports, functions and files of earlier runs are there. era_python and its like run once and keep nothing. Sessions reach no network unless allowInternetAccess is true (era_create_session, era_update_session); then packages are installed with era_shell in the session ("pip install …", "npm install …"), or without it by \`packages\` of era_create_session. A run of more than 45 seconds is answered with its run_id: call era_get_run. Servers and other programs that go on: era_start_process.`;

const TOOLS = [...RUN_TOOLS, ...SESSION_TOOLS, ...PROCESS_TOOLS, ...FILE_TOOLS];

export function createMcpServer(version: string, apiOf: ApiOf): McpServer {
  const server = new McpServer({ name: "era-agent-mcp", version }, { instructions: INSTRUCTIONS });
  const tools = { server, apiOf };
  for (const declared of TOOLS) addTool(tools, declared);
  addResources(tools);
  return server;
}
