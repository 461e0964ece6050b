/** The session that a run, a command or a file is for: an unknown id makes one, where server and key allow it. */
import { AppError } from "../protocol/errors.ts";
import { type Language, parseLanguage } from "../protocol/languages.ts";
import type { SessionRegistry } from "../session/registry.ts";
import type { Session } from "../session/session.ts";
import type { Store } from "../store/store.ts";
import { refuseMoreLive, refuseMoreSessions } from "./key-limits.ts";
import type { Tenant } from "./tenant.ts";

type Obtaining = { registry: SessionRegistry; store: Store };
type Wanted = {
  id: string;
  /** That of a new session, Python when absent; another one than that of the session is refused. */
  language: string | undefined;
  /** False: only one that is there will do. */
  mayBeNew?: boolean;
  /** Throws for what a session of this language cannot do: before one is made. */
  refuse?: (language: Language) => void;
};
type Obtained = { session: Session; created: boolean };

export async function obtainSession(
  { registry, store }: Obtaining,
  tenant: Tenant,
  { id, language, mayBeNew = true, refuse = () => undefined }: Wanted,
): Promise<Obtained> {
  const wanted = parseLanguage(language ?? "python");
  if (mayBeNew && (await registry.find(id)) === null) {
    refuse(wanted);
    await refuseMoreSessions(tenant, store);
  }
  const { session, created } = mayBeNew
    ? await registry.getOrCreate(id, wanted)
    : { session: await registry.get(id), created: false };
  if (language !== undefined) refuseOtherLanguage(wanted, session);
  refuse(session.row.language);
  return { session, created };
}

/** A session that is about to be awake, if it is not: a key may have so many. */
export async function awakeSession(registry: SessionRegistry, tenant: Tenant, id: string): Promise<Session> {
  const session = await registry.get(id);
  refuseMoreLive(tenant, registry, id);
  return session;
}

/** A session has one language for its life. */
function refuseOtherLanguage(wanted: Language, { row, id }: Session): void {
  if (wanted === row.language) return;
  throw new AppError(
    "invalid_request",
    `Cannot run ${wanted} in '${id}': it is a session of ${row.language}`,
    { hint: "Create another session, or leave the field 'language' out" },
  );
}
