/** The table of operations: whatever the API can do is a line here. */
import * as code from "./code.ts";
import * as execute from "./execute.ts";
import * as moves from "./export.ts";
import * as files from "./files.ts";
import * as keys from "./keys.ts";
import * as network from "./network.ts";
import type { Operation } from "./operation.ts";
import * as processes from "./processes.ts";
import * as runs from "./runs.ts";
import * as server from "./server.ts";
import * as sessions from "./sessions.ts";
import * as setup from "./setup.ts";
import * as states from "./states.ts";
import * as variables from "./variables.ts";

/** In the order in which the reference shows them, and in which their examples run one after the other. */
export const OPERATIONS: readonly Operation[] = [
  execute.execute,
  sessions.createSession,
  sessions.listSessions,
  runs.runCode,
  runs.streamRun,
  runs.runShell,
  runs.interruptRun,
  runs.listRuns,
  runs.getRun,
  runs.followRun,
  runs.giveInput,
  sessions.getSession,
  sessions.getUsage,
  sessions.updateSession,
  sessions.duplicateSession,
  states.listVariables,
  variables.getVariable,
  variables.setVariable,
  variables.deleteVariable,
  states.listVersions,
  variables.compareVersions,
  variables.undo,
  variables.redo,
  states.rollbackSession,
  states.hibernateSession,
  processes.startProcess,
  processes.listProcesses,
  processes.getProcess,
  processes.readProcess,
  processes.writeProcess,
  processes.signalProcess,
  processes.resizeProcess,
  processes.deleteProcess,
  files.writeFile,
  files.listFiles,
  files.readFile,
  files.moveFile,
  files.createFolder,
  files.deleteFile,
  files.readArchive,
  files.writeArchive,
  code.storeCode,
  code.getCode,
  code.deleteCode,
  network.listConnections,
  network.getHost,
  setup.getSetup,
  setup.cancelSetup,
  moves.exportSession,
  moves.importSession,
  sessions.deleteSession,
  sessions.deleteSessions,
  keys.createKey,
  keys.listKeys,
  keys.deleteKey,
  keys.listAudit,
  server.health,
  server.openapi,
  server.reference,
  server.metrics,
];
