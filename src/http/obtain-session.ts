/** The session that a run, a command or a file is for: an unknown id makes one, where server and key allow it. */

import { AppError } from "../protocol/errors.ts";
import { type Language, parseLanguage } from "../protocol/languages.ts";
import type { SessionRegistry } from "../session/registry.ts";
import type { Session } from "../session/session.ts";
import type { Store } from "../store/store.ts";
import { refuseMoreSessions } from "./key-limits.ts";
import type { Tenant } from "./tenant.ts";

type Obtaining = { registry: SessionRegistry; store: Store };
type Obtained = { session: Session; created: boolean };

/** `language`: of a new session, Python when absent; another one than that of the session is refused. */
export async function obtainSession(
  { registry, store }: Obtaining,
  tenant: Tenant,
  id: string,
  language: string | undefined,
): Promise<Obtained> {
  const wanted = parseLanguage(language ?? "python");
  if ((await registry.find(id)) === null) await refuseMoreSessions(tenant, store);
  const obtained = await registry.getOrCreate(id, wanted);
  if (language !== undefined) refuseOtherLanguage(wanted, obtained.session);
  return obtained;
}

/** A session has one language for its life. */
export function refuseOtherLanguage(wanted: Language, { row, id }: Session): void {
  if (wanted === row.language) return;
  throw new AppError(
    "invalid_request",
    `Cannot run ${wanted} in '${id}': it is a session of ${row.language}`,
    { hint: "Create another session, or leave the field 'language' out" },
  );
}
