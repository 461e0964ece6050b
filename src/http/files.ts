/** …/files: a session's tree, whether it lives or sleeps. No run is waited for, and no session woken. */
import type { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import mime from "mime";
import { workspacePath } from "../api/fields.ts";
import * as api from "../api/files.ts";
import { packTree, unpackTree } from "../files/archive.ts";
import {
  createFolderAt,
  move,
  openFile,
  parseRange,
  takeOut,
  type WriteOptions,
  writeFile,
} from "../files/change.ts";
import type { ListOptions } from "../files/list.ts";
import type { Quotas } from "../files/quota.ts";
import { randomBase36 } from "../lib/random-id.ts";
import { removeTree } from "../lib/remove-tree.ts";
import type { Folder } from "../live/folder.ts";
import { AppError, sessionDeleted } from "../protocol/errors.ts";
import { localName } from "../protocol/session-names.ts";
import type { SessionRegistry } from "../session/registry.ts";
import type { Session } from "../session/session.ts";
import type { Store } from "../store/store.ts";
import { goneSignal } from "./gone.ts";
import { obtainSession } from "./obtain-session.ts";
import { type Asked, serve } from "./serve.ts";
import { filesOf } from "./sessions.ts";
import { acceptStreams, receive, UPLOAD } from "./uploads.ts";
import { viewFile } from "./views.ts";

type FileRoutes = { registry: SessionRegistry; store: Store; quotas: Quotas; maxFiles: number };

const MAX_LISTED = 10_000;

type FindSession = (id: string) => Promise<Session>;
type Made = { created?: true };
/** What a request writes to: an unknown id makes a session. */
type ObtainSession = (
  request: FastifyRequest,
  id: string,
  language: string | undefined,
) => Promise<{ session: Session; made: Made }>;

export function addFiles(app: FastifyInstance, routes: FileRoutes): void {
  const find = (id: string) => routes.registry.get(id);
  const obtain: ObtainSession = async ({ tenant }, id, language) => {
    const { session, created } = await obtainSession(routes, tenant, { id, language });
    return { session, made: created ? { created } : {} };
  };
  addReading(app, find);
  addChanging(app, find, obtain);
  acceptStreams(app, (uploads) => addUploads(uploads, obtain, routes));
}

function addReading(app: FastifyInstance, find: FindSession): void {
  serve(app, api.listFiles, async ({ params, query: { search, limit }, reply }) => {
    const session = await find(params.id);
    return list(session, { search, maxListed: limit ?? MAX_LISTED, signal: goneSignal(reply) });
  });

  serve(app, api.readFile, async ({ params: { id, path }, request, reply }) =>
    send(await find(id), path, request, reply),
  );

  serve(app, api.readArchive, async ({ params, reply }) => {
    const session = await find(params.id);
    const name = localName(session.id).replaceAll(":", "_");
    reply.header("content-disposition", `attachment; filename="${name}.tar"`).type("application/x-tar");
    const held = await session.holdFolder();
    const archive = packTree(held.folder?.workspace ?? "/nonexistent");
    return reply.send(archive.once("close", () => held[Symbol.dispose]()));
  });
}

function addChanging(app: FastifyInstance, find: FindSession, obtain: ObtainSession): void {
  serve(app, api.deleteFile, async ({ params: { id, path } }) => {
    const session = await find(id);
    using held = await session.holdFolder();
    if (held.folder === null) throw missing(path);
    const target = `${held.folder.run}/removed-${randomBase36(12)}`;
    await takeOut(held.folder.workspace, path, target);
    await removeTree(target);
    await session.noteChangedFiles();
    return { success: true as const, path };
  });

  serve(app, api.moveFile, async ({ params, body: { from, to } }) => {
    const session = await find(params.id);
    using held = await session.holdFolder();
    if (held.folder === null) throw missing(from);
    await move(held.folder.workspace, from, to, held.owner);
    await session.noteChangedFiles(); // it may have replaced a file
    return { success: true as const, from, to };
  });

  serve(app, api.createFolder, async ({ params: { id, path }, query: { language }, request }) => {
    const { session, made } = await obtain(request, id, language);
    using held = await session.holdMadeFolder();
    await createFolderAt(held.folder.workspace, path, held.owner);
    return { success: true as const, path, ...made };
  });
}

function addUploads(
  uploads: FastifyInstance,
  obtain: ObtainSession,
  { quotas, maxFiles }: Pick<FileRoutes, "quotas" | "maxFiles">,
): void {
  const upload = async <T>(
    session: Session,
    request: FastifyRequest,
    write: (body: Readable, folder: Folder, options: WriteOptions) => Promise<T>,
  ): Promise<T> => {
    using held = await session.holdMadeFolder();
    const { folder, owner } = held;
    try {
      const limits = () => ({ bytes: session.resources.limits.fileBytes, files: maxFiles });
      const done = await quotas.use(folder.workspace, { beside: [folder.home], limits }, (quota) =>
        receive(request, (body) => write(body, folder, { owner, quota, stagingDir: folder.run })),
      );
      await session.noteChangedFiles();
      return done;
    } catch (error) {
      if (session.isDeleted) throw sessionDeleted(session.id);
      throw error;
    }
  };

  const putFile = async ({ params: { id, path }, query, request }: Asked<typeof api.writeFile>) => {
    const { session, made } = await obtain(request, id, query.language);
    const size = await upload(session, request, (body, { workspace }, options) =>
      writeFile(workspace, path, body, options),
    );
    return { path, size, ...made };
  };
  serve(uploads, api.writeFile, putFile, UPLOAD);

  const putArchive = async ({ params: { id }, query, request }: Asked<typeof api.writeArchive>) => {
    const { session, made } = await obtain(request, id, query.language);
    const done = await upload(session, request, (body, { workspace }, options) =>
      unpackTree(workspace, body, { ...options, checkPath: parsePath }),
    );
    return { success: true as const, ...done, ...made };
  };
  serve(uploads, api.writeArchive, putArchive, UPLOAD);
}

const missing = (path: string) =>
  new AppError("file_not_found", `Cannot find the file ${JSON.stringify(path)}`);

function parsePath(text: string): string {
  const parsed = workspacePath.safeParse(text.replace(/\/$/, ""));
  if (parsed.success) return parsed.data;
  throw new AppError(
    "invalid_request",
    `Cannot use the path ${JSON.stringify(text.slice(0, 200))}: ${parsed.error.issues[0]?.message}`,
  );
}

async function list(session: Session, options: ListOptions) {
  const { files, count, totalBytes, unnamed } = await filesOf(session, options);
  return {
    files: files.map(viewFile),
    count,
    total_count: count,
    total_size_bytes: totalBytes,
    ...(unnamed === 0 ? {} : { unnamed_count: unnamed }),
  };
}

async function openIn(session: Session, path: string) {
  using held = await session.holdFolder();
  if (held.folder === null) throw missing(path);
  return await openFile(held.folder.workspace, path);
}

async function send(session: Session, path: string, request: FastifyRequest, reply: FastifyReply) {
  const { file, sizeBytes, modifiedAt } = await openIn(session, path);
  try {
    const range = parseRange(request.headers.range, sizeBytes);
    const { start, end } = range ?? { start: 0, end: sizeBytes - 1 };
    reply
      .header("content-type", mime.getType(path) ?? "application/octet-stream")
      .header("content-length", end - start + 1)
      .header("last-modified", modifiedAt.toUTCString())
      .header("accept-ranges", "bytes")
      // What a guest wrote is shown as a document of nobody, not as a page of this server.
      .header("content-security-policy", "sandbox")
      .header("x-content-type-options", "nosniff");
    if (range !== null) reply.code(206).header("content-range", `bytes ${start}-${end}/${sizeBytes}`);
    if (end < start) {
      await file.close();
      return reply.send("");
    }
    const content = file.createReadStream({ start, end });
    // A file that was cut meanwhile: the client must not wait for the rest.
    content.once("end", () => content.bytesRead < end - start + 1 && reply.raw.destroy());
    return reply.send(content);
  } catch (error) {
    await file.close();
    throw error;
  }
}
