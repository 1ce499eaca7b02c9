// Guesses from a client's SYN which system or scanner sent it: a table and a pure function, in the manner of p0f
// (initial TTL, window, option order). A guess, never evidence: every field can be forged.
// Sources: ZMap and masscan send such packets by design (their packet templates); Mirai's scanner takes the
// destination as sequence number (USENIX Security 2017 and 2022); the systems' defaults are their kernels'.

import type { SynDetails } from './session.ts';
import type { HiddenOption } from './tcp-stack.ts';

/** What the tools' marks are computed from, beside the SYN itself. */
export interface SynTarget {
  /** IPv4 destination as a number; absent for IPv6. */
  readonly address?: number;
  readonly port: number;
}

interface Signature {
  readonly system: string;
  /** Initial TTLs: 32, 64, 128, 255. */
  readonly ttl: number;
  readonly options: string;
  /** Window in bytes, or as a multiple of the MSS; absent: any. */
  readonly windows?: readonly number[];
  readonly mssMultiples?: readonly number[];
  readonly scales?: readonly number[];
}

const signatures: readonly Signature[] = [
  // 65,535 / 64,240 and 65,160 / 64,800: the receive buffer limits since 4.19 over IPv4, loopback-like and IPv6 MSS.
  { system: 'Linux 4.19+', ttl: 64, options: 'mss,sok,ts,nop,ws', windows: [64240, 65160, 64800, 65535, 62727, 62636] },
  { system: 'Linux 4.19+', ttl: 64, options: 'mss,sok,ts,nop,ws', mssMultiples: [44, 45, 46] },
  { system: 'Linux 3.11+', ttl: 64, options: 'mss,sok,ts,nop,ws', mssMultiples: [20] },
  { system: 'Linux 3.x', ttl: 64, options: 'mss,sok,ts,nop,ws', mssMultiples: [10] },
  { system: 'Linux 2.6', ttl: 64, options: 'mss,sok,ts,nop,ws', mssMultiples: [4, 3, 2] },
  { system: 'Linux', ttl: 64, options: 'mss,sok,ts,nop,ws' },
  { system: 'Linux', ttl: 64, options: 'mss,nop,nop,sok,nop,ws' },
  { system: 'Windows 10+', ttl: 128, options: 'mss,nop,ws,nop,nop,sok', windows: [64240, 65535, 62720, 64800], scales: [8] },
  { system: 'Windows 7 to 8.1', ttl: 128, options: 'mss,nop,ws,nop,nop,sok', windows: [8192] },
  { system: 'Windows', ttl: 128, options: 'mss,nop,ws,nop,nop,sok' },
  { system: 'Windows XP', ttl: 128, options: 'mss,nop,nop,sok' },
  { system: 'Windows', ttl: 128, options: 'mss,nop,ws,sok,ts' },
  { system: 'macOS or iOS', ttl: 64, options: 'mss,nop,ws,nop,nop,ts,sok,eol', windows: [65535] },
  { system: 'FreeBSD', ttl: 64, options: 'mss,nop,ws,sok,ts', windows: [65535] },
  { system: 'OpenBSD', ttl: 64, options: 'mss,nop,nop,sok,nop,ws,nop,nop,ts' },
  { system: 'Solaris', ttl: 64, options: 'mss,nop,ws,nop,nop,sok' },
];

const initialTtl = (ttl: number): number => (ttl <= 32 ? 32 : ttl <= 64 ? 64 : ttl <= 128 ? 128 : 255);

/** nmap draws the TTL of raw IPv4 scans from 37 to 59; routers on the way only lower it. */
const nmapMaxTtl = 59;

function guessTool(syn: SynDetails, target: SynTarget): string | undefined {
  if (target.address !== undefined) {
    if (syn.sequence === target.address >>> 0) return 'Mirai';
    if (syn.ipId === 54321) return 'ZMap';
    const mark = (target.address ^ target.port ^ syn.sequence) & 0xffff;
    if (syn.ipId === mark && !syn.doNotFragment && (syn.options === '' || syn.options === 'mss')) return 'masscan';
  }
  if (
    !syn.doNotFragment &&
    syn.options === 'mss' &&
    syn.mss === 1460 &&
    (syn.ttl <= nmapMaxTtl || target.address === undefined) &&
    syn.window % 1024 === 0 &&
    syn.window <= 4096 &&
    syn.window > 0
  )
    return 'nmap';
  if (syn.options === '' && syn.window === 512 && !syn.doNotFragment) return 'hping3';
  return undefined;
}

/** What an option of each kind became, RFC 7323 and RFC 2018 lengths. */
const maskOf: Readonly<Record<HiddenOption, { readonly word: string; readonly bytes: number }>> = {
  timestamp: { word: 'ts', bytes: 10 },
  'sack-permitted': { word: 'sok', bytes: 2 },
  'window-scale': { word: 'ws', bytes: 3 },
};

const nothingHidden: readonly HiddenOption[] = [];

function hide(options: string, hidden: readonly HiddenOption[]): string {
  const masks = new Map(hidden.map((kind) => [maskOf[kind].word, Array(maskOf[kind].bytes).fill('nop').join()]));
  return options
    .split(',')
    .map((word) => masks.get(word) ?? word)
    .join();
}

/** Orders of `signatures` as they look with options hidden, by the list of what is hidden; a list is a stack's. */
const hiddenOrders = new WeakMap<readonly HiddenOption[], readonly string[]>();

function ordersOf(hidden: readonly HiddenOption[]): readonly string[] {
  let orders = hiddenOrders.get(hidden);
  if (!orders) {
    orders = signatures.map(({ options }) => hide(options, hidden));
    hiddenOrders.set(hidden, orders);
  }
  return orders;
}

/**
 * A SYN that reached the kernel with these options hidden (plan/ruleset-stack.ts), as it was sent: the order of a known
 * system that looks like this when hidden, and the system. Where none does, the no-operations stay.
 */
export function identifySyn(syn: SynDetails, target: SynTarget, hidden: readonly HiddenOption[]): SynDetails {
  const found = findSignature(syn, hidden);
  const system = guessTool(syn, target) ?? found?.system;
  return { ...syn, ...(found && hidden.length > 0 ? { options: found.options } : {}), ...(system ? { system } : {}) };
}

/** Undefined when nothing fits. */
export const guessSystem = (syn: SynDetails, target: SynTarget): string | undefined =>
  guessTool(syn, target) ?? findSignature(syn, nothingHidden)?.system;

function findSignature(syn: SynDetails, hidden: readonly HiddenOption[]): Signature | undefined {
  const ttl = initialTtl(syn.ttl);
  const multiple = syn.mss && syn.window % syn.mss === 0 ? syn.window / syn.mss : -1;
  const orders = ordersOf(hidden);
  return signatures.find((one, index) => {
    if (orders[index] !== syn.options || one.ttl !== ttl) return false;
    if (one.windows && !one.windows.includes(syn.window)) return false;
    if (one.mssMultiples && !one.mssMultiples.includes(multiple)) return false;
    if (!one.scales || hidden.includes('window-scale')) return true;
    return syn.windowScale !== undefined && one.scales.includes(syn.windowScale);
  });
}
