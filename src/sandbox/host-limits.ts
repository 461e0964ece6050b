/**
 * The first step of a sandbox's command line: limits of its processes, and its cgroups, taken on by launch.sh. Pure.
 */
import { fileURLToPath } from "node:url";
import type { Limits } from "./policy.ts";

const LAUNCH_SCRIPT = fileURLToPath(new URL("launch.sh", import.meta.url));
const FILE_BLOCK_BYTES = 512;

export function planHostLimits(limits: Limits, cgroupFolders: readonly string[]): string[] {
  const blocks = (bytes: number) => String(Math.floor(bytes / FILE_BLOCK_BYTES));
  const { openFiles, fileBytes, mostFileBytes } = limits;
  const files = [blocks(fileBytes), blocks(Math.max(fileBytes, mostFileBytes))];
  return ["/bin/sh", LAUNCH_SCRIPT, String(openFiles), ...files, ...cgroupFolders, "--"];
}
