/**
 * A reporter of `node --test`: one line of JSON for each test that has ended, as src/cli/test.ts and
 * scripts/conformance.ts read it.
 */
import type { EventData } from "node:test";
import type { TestResult } from "../src/cli/test.ts";

type TestEvent = { type: string; data: EventData.TestPass | EventData.TestFail };

export default async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const { type, data } of events) {
    if ((type !== "test:pass" && type !== "test:fail") || data.details.type === "suite") continue;
    const isSkipped = Boolean(data.skip) || Boolean(data.todo);
    const outcome = isSkipped ? "skipped" : type === "test:pass" ? "passed" : "failed";
    yield `${JSON.stringify({ name: data.name, outcome } satisfies TestResult)}\n`;
  }
}
