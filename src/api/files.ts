/** Files of a session's workspace, whether it lives or sleeps. */
import { z } from "zod";
import { count, file, success } from "./answers.ts";
import { languageOfNew, workspacePath } from "./fields.ts";
import { OF_A_SESSION, operation } from "./operation.ts";

const bytes = (description: string) => ({ type: "application/octet-stream", description });
const ofNew = z.object({ language: languageOfNew });
const created = z.literal(true).optional().describe("The request made the session");
const CHANGING = [...OF_A_SESSION, "path_conflict", "disk_full"] as const;

export const listFiles = operation({
  id: "listFiles",
  method: "GET",
  path: "/api/sessions/{id}/files",
  tag: "Files",
  summary: "Lists the files of the workspace, or those whose path has a text in it",
  scope: "read",
  query: z.object({
    search: z.string().max(1024).optional().describe("Part of a path, in any case"),
    limit: z.coerce.number().int().min(1).max(100_000).optional().describe("Files at most; all are counted"),
  }),
  answers: {
    200: z.strictObject({
      files: z.array(file),
      count,
      total_count: count,
      total_size_bytes: count,
      unnamed_count: count.optional().describe("Files whose path no request can name"),
    }),
  },
  errors: OF_A_SESSION,
  example: { params: { id: "example" } },
});

export const readFile = operation({
  id: "readFile",
  method: "GET",
  path: "/api/sessions/{id}/files/{path}",
  tag: "Files",
  summary: "One file, or with `Range` a part of it",
  scope: "read",
  answers: { 200: bytes("The file, with the type of its name"), 206: bytes("A part of it") },
  errors: [...OF_A_SESSION, "file_not_found", "path_conflict", "invalid_range"],
  example: { params: { id: "example", path: "notes.txt" } },
});

export const writeFile = operation({
  id: "writeFile",
  method: "PUT",
  path: "/api/sessions/{id}/files/{path}",
  tag: "Files",
  summary: "Writes one file of any size; folders on the way are made, and the session when the id is unknown",
  scope: "run",
  query: ofNew,
  body: bytes("The file as it is, no form"),
  answers: { 200: z.strictObject({ path: z.string(), size: count, created }) },
  errors: [...CHANGING, "file_not_found", "unknown_language"],
  example: { params: { id: "example", path: "notes.txt" }, body: "remember\n" },
});

export const deleteFile = operation({
  id: "deleteFile",
  method: "DELETE",
  path: "/api/sessions/{id}/files/{path}",
  tag: "Files",
  summary: "Deletes a file, or a folder with what is in it",
  scope: "run",
  answers: { 200: z.strictObject({ success, path: z.string() }) },
  errors: [...CHANGING, "file_not_found"],
});

export const moveFile = operation({
  id: "moveFile",
  method: "POST",
  path: "/api/sessions/{id}/files/move",
  tag: "Files",
  summary: "Moves a file or folder",
  scope: "run",
  body: z.object({ from: workspacePath, to: workspacePath }),
  answers: { 200: z.strictObject({ success, from: z.string(), to: z.string() }) },
  errors: [...CHANGING, "file_not_found"],
  example: { params: { id: "example" }, body: { from: "notes.txt", to: "old/notes.txt" } },
});

export const createFolder = operation({
  id: "createFolder",
  method: "POST",
  path: "/api/sessions/{id}/folders/{path}",
  tag: "Files",
  summary: "Makes a folder, and those on the way to it, and the session when the id is unknown",
  scope: "run",
  query: ofNew,
  answers: { 200: z.strictObject({ success, path: z.string(), created }) },
  errors: [...CHANGING, "unknown_language"],
  example: { params: { id: "example", path: "in/raw" } },
});

export const readArchive = operation({
  id: "readArchive",
  method: "GET",
  path: "/api/sessions/{id}/archive",
  tag: "Files",
  summary: "The whole workspace as tar",
  scope: "read",
  answers: {
    200: { type: "application/x-tar", description: "Folders, and regular files with their execute bits" },
  },
  errors: OF_A_SESSION,
  example: { params: { id: "example" } },
});

export const writeArchive = operation({
  id: "writeArchive",
  method: "PUT",
  path: "/api/sessions/{id}/archive",
  tag: "Files",
  summary: "Adds the files of a tar to the workspace; it may be gzipped; an unknown id makes a session",
  scope: "run",
  query: ofNew,
  body: { type: "application/x-tar", description: "A tar, or a gzipped tar" },
  answers: { 200: z.looseObject({ success, created }) },
  errors: [...CHANGING, "file_not_found", "unknown_language"],
});
