/** What an agent says by itself, and who hears it. */
import type { SavedFrame, StreamName } from "../protocol/guest.ts";

export type ChannelEvents = {
  /** Output of a run that has ended, from processes that it left behind. */
  onLate: (runId: string, stream: StreamName, chunk: Buffer) => void;
  /** The kernel ended between runs and was replaced. */
  onKernelLost: (epoch: number, description: string) => void;
  onSaved: (report: SavedFrame) => void;
  /** Nobody listens on the port that a ticket was for. */
  onRefused: (ticket: string) => void;
  /** The line is gone for good. Called once, and not after close(). */
  onLost: (reason: Error) => void;
};

const ignore = () => undefined;
export const NO_EVENTS: ChannelEvents = {
  onLate: ignore,
  onKernelLost: ignore,
  onSaved: ignore,
  onRefused: ignore,
  onLost: ignore,
};
