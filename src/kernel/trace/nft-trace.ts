// What nft says of one flow as it passes the rules of a namespace (`meta nftrace`): which rule let it through or ended it. A table of our own marks
// the flow; it belongs to a process of ours and goes with it, however that ends. iptables-legacy is not seen by it.
// Sources: nft(8) (`monitor trace`, table flag `owner`), include/uapi/linux/netfilter/nfnetlink.h.

import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { printable } from '../../base/printable.ts';
import { endProgram, holdTable, type OwnedTable, startInside, within } from '../owned-table.ts';

export interface NftTraceLine {
  readonly id: string;
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly kind: 'rule' | 'policy' | 'verdict';
  /** `drop`, `accept`, `jump X`; of a policy the policy. */
  readonly verdict: string;
  readonly text: string;
}

const patterns = {
  head: /^trace id ([0-9a-f]+) (\S+) (\S+) (\S+) (rule|policy|verdict) (.*)$/,
  verdict: /\(verdict ([^)]+)\)\s*$/,
};

/** One line of `nft monitor trace`; undefined for packets and for what is no trace. Pure. */
export function parseNftTrace(line: string): NftTraceLine | undefined {
  const match = patterns.head.exec(line);
  if (!match) return undefined;
  const [, id, family, table, chain, kind, rest] = match;
  const verdict = kind === 'rule' ? (patterns.verdict.exec(rest)?.[1] ?? 'continue') : rest.trim().split(' ')[0];
  return { id, family, table, chain, kind: kind as NftTraceLine['kind'], verdict, text: printable(rest.trim(), 500) };
}

/** NFNLGRP_NFTRACE, as /proc/net/netlink shows groups. */
const traceGroupBit = 1 << 8;
const NETLINK_NETFILTER = 12;
const mostLines = 2000;
const mostPending = 64 << 10;

export class NftTrace {
  readonly #table: OwnedTable;
  readonly #monitor: ChildProcessWithoutNullStreams;
  readonly #lines: NftTraceLine[] = [];
  #pending = '';
  /** Lines that came when there were too many. */
  lost = 0;

  private constructor(table: OwnedTable, monitor: ChildProcessWithoutNullStreams) {
    this.#table = table;
    this.#monitor = monitor;
    monitor.stderr.resume();
    monitor.stdout.on('data', (bytes: Buffer) => this.#take(bytes.toString('latin1')));
  }

  /**
   * `selectors` are nft's words for the flow, there and back: `ip saddr 10.0.0.1 tcp dport 80`. Needs CAP_NET_ADMIN. Throws `timeout` where nft
   * cannot do it; nothing is left then.
   */
  static async open(netns: string | undefined, selectors: readonly string[]): Promise<NftTrace> {
    const rules = selectors.map((selector) => `${selector} meta nftrace set 1`);
    const table = await holdTable(netns, [
      { hook: 'prerouting', rules },
      { hook: 'output', rules },
    ]);
    const monitor = startInside(netns, ['nft', 'monitor', 'trace']);
    const trace = new NftTrace(table, monitor);
    try {
      await within('nft listens for traces', async () => listens(monitor.pid));
      return trace;
    } catch (error) {
      await trace.close();
      throw error;
    }
  }

  /** What was said so far; the rest may be on its way: the caller made its packets before. */
  get lines(): readonly NftTraceLine[] {
    return this.#lines;
  }

  /** Nothing of it is left in the kernel. Idempotent. */
  async close(): Promise<void> {
    await Promise.all([this.#table.close(), endProgram(this.#monitor)]);
  }

  #take(text: string): void {
    this.#pending += text;
    const lines = this.#pending.split('\n');
    this.#pending = (lines.pop() ?? '').slice(-mostPending);
    for (const line of lines) {
      const parsed = parseNftTrace(line);
      if (!parsed) continue;
      if (this.#lines.length < mostLines) this.#lines.push(parsed);
      else this.lost += 1;
    }
  }
}

/** Whether a process has joined the group of traces; nsenter became it, so the number is the same. */
function listens(pid: number | undefined): boolean {
  try {
    return readFileSync(`/proc/${pid}/net/netlink`, 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .some(
        ([, protocol, owner, groups]) =>
          Number(protocol) === NETLINK_NETFILTER && Number(owner) === pid && (Number.parseInt(groups, 16) & traceGroupBit) !== 0,
      );
  } catch {
    return false;
  }
}
