import { withHint } from "../protocol/errors.ts";

/** What the body of a refusal says to a person; one that somebody else has written is shown as it is. */
export function refusalText(body: string): string {
  try {
    const { error, hint } = JSON.parse(body) as { error: string; hint?: string };
    return withHint(error, hint);
  } catch {
    return body.trim();
  }
}
