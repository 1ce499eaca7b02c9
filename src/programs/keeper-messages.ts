// What an agent's keeper and the programs it starts say to each other, over the channel Node gives parent and child. A keeper may
// be years older than a program: this only ever grows. Pure.

import type { WorkerState } from './agent-trial.ts';

/** Set in a program's environment by a keeper that speaks this. */
export const keeperVariable = 'WEIR_AGENT_KEEPER';
export const keeperProtocol = '1';

/** True in a process that a keeper started and that speaks with it. */
export const hasKeeper = (environment: Readonly<Record<string, string | undefined>>): boolean =>
  environment[keeperVariable] === keeperProtocol && process.send !== undefined;

/** A program a gateway offers, as it came over the link. */
export interface ProgramOffer {
  readonly version: string;
  /** 64 hex digits. */
  readonly sha256: string;
  readonly bytes: number;
}

export interface UpgradeNews {
  readonly version: string;
  readonly state: 'staged' | 'committed' | 'failed';
  readonly reason?: string;
}

export type KeeperMessage =
  /** Take everything: listeners, link, spool. Answered by `open`. */
  | { readonly kind: 'open' }
  /** Let go of everything, and wait. Answered by `idle`. */
  | { readonly kind: 'close' }
  /** For the gateway, when there is a link. */
  | { readonly kind: 'news'; readonly news: UpgradeNews }
  /** Let go of everything and end. */
  | { readonly kind: 'end' };

export type WorkerMessage =
  /** Loaded; nothing is taken yet. */
  | { readonly kind: 'ready'; readonly version: string }
  | { readonly kind: 'open' }
  | { readonly kind: 'idle' }
  | { readonly kind: 'said'; readonly state: WorkerState }
  /** The latest news are on their way to the gateway. */
  | { readonly kind: 'told'; readonly state: UpgradeNews['state'] }
  /** The offered program is in its place, whole. */
  | { readonly kind: 'staged'; readonly offer: ProgramOffer };

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;
const isText = (value: unknown, most: number): value is string => typeof value === 'string' && value.length <= most;

export const isOffer = (value: unknown): value is ProgramOffer =>
  isRecord(value) &&
  isText(value.version, 64) &&
  /^[0-9A-Za-z.+-]+$/.test(value.version) &&
  isText(value.sha256, 64) &&
  /^[0-9a-f]{64}$/.test(value.sha256) &&
  Number.isSafeInteger(value.bytes) &&
  (value.bytes as number) > 0;

function isState(value: unknown): value is WorkerState {
  if (!isRecord(value)) return false;
  const { linked, health, reasons, refused, ruled } = value;
  return (
    typeof linked === 'boolean' &&
    typeof ruled === 'boolean' &&
    Number.isSafeInteger(refused) &&
    (health === 'good' || health === 'degraded' || health === 'bad') &&
    Array.isArray(reasons) &&
    reasons.length <= 64 &&
    reasons.every((reason) => isText(reason, 1000))
  );
}

/** Undefined: not a message a program sends, or one this keeper does not know. */
export function parseWorkerMessage(value: unknown): WorkerMessage | undefined {
  if (!isRecord(value)) return undefined;
  const { kind, version, state, offer } = value;
  if (kind === 'open' || kind === 'idle') return { kind };
  if (kind === 'ready' && isText(version, 64)) return { kind, version };
  if (kind === 'said' && isState(state)) return { kind, state };
  if (kind === 'told' && (state === 'staged' || state === 'committed' || state === 'failed')) return { kind, state };
  if (kind === 'staged' && isOffer(offer)) return { kind, offer };
  return undefined;
}

/** Undefined: a newer keeper's. */
export function parseKeeperMessage(value: unknown): KeeperMessage | undefined {
  if (!isRecord(value)) return undefined;
  const { kind, news } = value;
  if (kind === 'open' || kind === 'close' || kind === 'end') return { kind };
  if (kind !== 'news' || !isRecord(news) || !isText(news.version, 64)) return undefined;
  const { version, state, reason } = news;
  if (state !== 'staged' && state !== 'committed' && state !== 'failed') return undefined;
  return { kind, news: { version, state, ...(isText(reason, 1000) ? { reason } : {}) } };
}
