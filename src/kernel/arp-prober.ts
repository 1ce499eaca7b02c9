// Looks for live hosts in ranges before they are claimed: ARP probes (RFC 5227) for IPv4, duplicate address detection
// (RFC 4862) for IPv6, at a bounded rate, in a thread of its own. Watching afterwards is relay/neighbour-keeper.ts.

import { Worker } from 'node:worker_threads';
import { asWeirError, WeirError } from '../base/errors.ts';
import { type AddressRange, rangeSize, uniteRanges } from '../model/address.ts';

export interface LiveHostProbe {
  readonly interface: string;
  readonly ranges: readonly AddressRange[];
  /** Probes per second; default defaultProbeRate. */
  readonly ratePerSecond?: number;
  /** How often an address that stays silent is asked; default 2. */
  readonly rounds?: number;
  readonly netns?: string;
  /** Ends early: the promise rejects with `timeout`. */
  readonly signal?: AbortSignal;
}

export interface LiveHosts {
  /** Addresses somebody answered for, joined. */
  readonly live: readonly AddressRange[];
  /** Too large to ask one by one: watched and claimed lazily instead. */
  readonly notProbed: readonly AddressRange[];
  readonly probesSent: number;
  readonly durationMs: number;
  /** Addresses each MAC answered for, most first, at most 16: one that answers for hundreds is a router with proxy ARP. */
  readonly answers: readonly { readonly mac: string; readonly addresses: number }[];
}

/** A /12, asked twice, takes about 20 s. */
export const defaultProbeRate = 110_000;

/** A larger range is not probed: an IPv6 /64 would take longer than the machine lives. */
export const maxProbedRange = 1n << 20n;
/** All ranges of one call together. */
export const maxProbedAddresses = 1n << 22n;

export interface ProbeWorkerData {
  readonly interface: string;
  readonly ranges: readonly AddressRange[];
  readonly ratePerSecond: number;
  readonly rounds: number;
  readonly netns?: string;
  /** One Int32: 1 asks the thread to stop. */
  readonly stop: SharedArrayBuffer;
}

export type ProbeWorkerAnswer =
  | { readonly type: 'done'; readonly found: Omit<LiveHosts, 'notProbed' | 'durationMs'> }
  | {
      readonly type: 'failed';
      readonly code: WeirError['code'];
      readonly message: string;
      readonly details: Record<string, unknown>;
    };

/**
 * Asks for every address of the ranges. Sends nothing that teaches a neighbour's cache. Needs CAP_NET_RAW, and
 * CAP_SYS_ADMIN with `netns`. Throws `not-permitted`, `system-call` (no such interface), `timeout` (aborted).
 */
export async function probeLiveHosts(probe: LiveHostProbe): Promise<LiveHosts> {
  const started = performance.now();
  const ranges: AddressRange[] = [];
  const notProbed: AddressRange[] = [];
  let total = 0n;
  for (const range of uniteRanges(probe.ranges)) {
    const size = rangeSize(range);
    if (size > maxProbedRange || total + size > maxProbedAddresses) notProbed.push(range);
    else {
      total += size;
      ranges.push(range);
    }
  }
  const took = (): number => performance.now() - started;
  if (ranges.length === 0) return { live: [], notProbed, probesSent: 0, durationMs: took(), answers: [] };
  const stop = new SharedArrayBuffer(4);
  const workerData: ProbeWorkerData = {
    interface: probe.interface,
    ranges,
    ratePerSecond: Math.max(1, probe.ratePerSecond ?? defaultProbeRate),
    rounds: Math.max(1, probe.rounds ?? 2),
    ...(probe.netns ? { netns: probe.netns } : {}),
    stop,
  };
  const abort = (): void => void Atomics.store(new Int32Array(stop), 0, 1);
  if (probe.signal?.aborted) abort();
  probe.signal?.addEventListener('abort', abort, { once: true });
  const worker = new Worker(new URL('./arp-prober-worker.js', import.meta.url), { workerData, name: 'arp-prober' });
  try {
    const answer = await new Promise<ProbeWorkerAnswer>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', (error) => reject(asWeirError(error)));
      worker.once('exit', () => reject(new WeirError('fault', 'the probing thread ended without an answer')));
    });
    if (answer.type === 'failed') throw new WeirError(answer.code, answer.message, answer.details);
    if (probe.signal?.aborted)
      throw new WeirError('timeout', 'probing for live hosts was stopped', { interface: probe.interface });
    return { ...answer.found, notProbed, durationMs: took() };
  } finally {
    probe.signal?.removeEventListener('abort', abort);
    await worker.terminate();
  }
}
