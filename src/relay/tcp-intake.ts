// Accepts diverted TCP connections from a TPROXY listener and gives each with its true source, original destination,
// decoy and SYN. Refuses what no living decoy owns. What is said on a connection is the honeypot's.
//
// Accepting is done here, not by net.Server: that one learns the peer by getpeername, which fails for a client that has
// already reset (every connect scan), and on EMFILE it silently accepts and closes the whole backlog.

import { closeSync, openSync, readFileSync } from 'node:fs';
import type net from 'node:net';
import { type Clock, systemClock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import {
  acceptConnection,
  closeDescriptor,
  EAGAIN,
  EMFILE,
  ENFILE,
  errnoName,
  readSocketName,
  resetConnection,
} from '../kernel/libc.ts';
import { parseSyn } from '../kernel/packet-header.ts';
import { Readiness } from '../kernel/readiness.ts';
import { readSavedSyn, savedSynBytes, savedSynIpAt, savedSynMac } from '../kernel/saved-syn.ts';
import { ipv4Text, ipv6Text, socketPort } from '../kernel/socket-address.ts';
import { readSocketDrops } from '../kernel/udp-reader.ts';
import type { Decoy } from '../model/decoy.ts';
import type { NameBook } from '../model/name-book.ts';
import type { Persona } from '../model/persona.ts';
import { identifySyn } from '../model/syn-fingerprint.ts';
import { type HiddenOption, hiddenOptions, type TcpStack } from '../model/tcp-stack.ts';
import type { AcceptRing } from './accept-ring.ts';
import { AcceptedDescriptor } from './accepted-descriptor.ts';
import type { Arrival } from './arrival.ts';
import { type IntakeNetwork, nameBookOf, networkOf } from './network.ts';
import { networkKey, tupleKey } from './tuple-key.ts';

/** An accepted connection; Nagle is off. */
export type Connection = Arrival & { readonly socket: net.Socket; readonly takeDescriptor: () => number | undefined };

/** All ever counted; the sum of delivered, unknown, shed and failed is what the kernel gave us. */
export interface TcpIntakeCounters {
  delivered: number;
  /** To a destination no living decoy owns: reset. */
  unknown: number;
  /** Accepted only to be reset because no descriptor was left. */
  shed: number;
  /** The kernel or Node refused the descriptor. */
  failed: number;
  /** Times the descriptor limit was met or came near. */
  exhausted: number;
}

export interface TcpIntakeOptions {
  readonly networks: readonly IntakeNetwork[];
  readonly log: Log;
  readonly clock?: Clock;
  /** Must not block. Whatever it throws ends that connection only. */
  readonly onConnection: (connection: Connection) => void;
  /** Descriptors run out: free about `wanted` connections now, synchronously (socket.destroy does). */
  readonly onExhausted?: (wanted: number) => void;
  /** Learns which SYNs became connections. */
  readonly accepted?: AcceptRing;
  /** Descriptors this process may have; default: its own soft limit. */
  readonly descriptorLimit?: number;
}

/**
 * Connections taken from one listener before others get their turn. Many: a connection waits better here, where it is
 * counted and can be shed by age, than in a backlog that drops the newest.
 */
const perTurn = 1024;
/** Kept free for journal segments, control sockets and the like. */
const keptFree = 160;
/** How many connections are asked back at a time. */
const shedBatch = 64;
/** Over all networks. */
const decoyCacheEntries = 16_384;

const nothingHidden: readonly HiddenOption[] = [];
/** Computed once for each stack: personas come and go with configurations, stacks with them. */
const hiddenByStack = new WeakMap<TcpStack, readonly HiddenOption[]>();

function hiddenFrom({ stack }: Persona): readonly HiddenOption[] {
  if (!stack) return nothingHidden;
  let hidden = hiddenByStack.get(stack);
  if (!hidden) {
    hidden = hiddenOptions(stack);
    hiddenByStack.set(stack, hidden);
  }
  return hidden;
}

interface Listener {
  readonly network: string;
  /** Its part in tuple keys. */
  readonly key: number;
  readonly readiness: Readiness;
}

export class TcpIntake {
  readonly counters: TcpIntakeCounters = { delivered: 0, unknown: 0, shed: 0, failed: 0, exhausted: 0 };
  readonly #options: TcpIntakeOptions;
  readonly #clock: Clock;
  readonly #listeners = new Map<number, Listener>();
  readonly #highWater: number;
  #networks: ReadonlyMap<string, IntakeNetwork> = new Map();
  #names: ReadonlyMap<string, NameBook> = new Map();
  #decoys = new Map<string, Map<string, Decoy | null>>();
  #decoysCached = 0;
  /** Given up for a moment to be able to accept, and so to refuse, when no descriptor is left. */
  #reserve: number;
  #complaintAt = 0;

  readonly #peer = new Uint8Array(28);
  readonly #own = new Uint8Array(28);
  readonly #syn = new Uint8Array(savedSynBytes);

  constructor(options: TcpIntakeOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.setNetworks(options.networks);
    this.#highWater = (options.descriptorLimit ?? descriptorLimit()) - keptFree;
    this.#reserve = openSync('/dev/null', 'r');
  }

  /** Starts accepting from a listener (tproxy-socket.ts). The descriptor is ours until `remove` or `close`. */
  add(socket: { readonly fd: number; readonly network?: string }): void {
    const { fd } = socket;
    if (this.#listeners.has(fd)) return;
    const network = networkOf(socket);
    const ring = this.#options.accepted;
    const listener: Listener = {
      network,
      key: ring ? networkKey(ring.seeds, network) : 0,
      readiness: new Readiness(fd, { readable: true }, () => this.#acceptSome(fd, listener)),
    };
    this.#listeners.set(fd, listener);
  }

  /** Stops accepting and closes our descriptor; connections already delivered go on. */
  remove(fd: number): void {
    const listener = this.#listeners.get(fd);
    if (!listener) return;
    this.#listeners.delete(fd);
    listener.readiness.close();
    closeDescriptor(fd);
  }

  /**
   * Packets of handshakes the kernel dropped because a backlog was full (SYNs, which clients repeat, and final ACKs),
   * over the listeners now open.
   */
  get backlogDrops(): number {
    let sum = 0;
    for (const fd of this.#listeners.keys()) sum += readSocketDrops(fd);
    return sum;
  }

  setNetworks(networks: readonly IntakeNetwork[]): void {
    this.#networks = new Map(networks.map((one) => [one.name, one]));
    this.#names = new Map(networks.map((one) => [one.name, nameBookOf(one)]));
    this.#forgetDecoys();
  }

  close(): void {
    for (const fd of [...this.#listeners.keys()]) this.remove(fd);
    if (this.#reserve >= 0) closeSync(this.#reserve);
    this.#reserve = -1;
  }

  #acceptSome(listener: number, from: Listener): void {
    for (let count = 0; count < perTurn; count += 1) {
      const fd = acceptConnection(listener, this.#peer);
      if (fd >= 0) {
        this.#take(fd, from);
        if (fd >= this.#highWater) this.#askBack();
        continue;
      }
      if (fd === -EAGAIN) return;
      if (fd === -EMFILE || fd === -ENFILE) {
        if (!this.#makeRoom(listener, from)) return;
        continue;
      }
      // ECONNABORTED and the network errors accept(2) passes on: that connection is gone, the next may be fine.
      this.counters.failed += 1;
      if (fd === -9 /* EBADF */ || fd === -22 /* EINVAL */) {
        this.#complain('a listener can no longer accept', { errno: errnoName(-fd) });
        this.remove(listener);
        return;
      }
    }
  }

  #askBack(): void {
    this.counters.exhausted += 1;
    this.#options.onExhausted?.(shedBatch);
  }

  /** After EMFILE: asks for descriptors back; when none came, takes one connection off the backlog and resets it. */
  #makeRoom(listener: number, from: Listener): boolean {
    this.#askBack();
    const fd = acceptConnection(listener, this.#peer);
    if (fd >= 0) {
      this.#take(fd, from);
      return true;
    }
    if (fd !== -EMFILE && fd !== -ENFILE) return false;
    this.#complain('no descriptor left: connections are refused and counted', { errno: errnoName(-fd) });
    if (this.#reserve >= 0) closeSync(this.#reserve);
    this.#reserve = -1;
    const refused = acceptConnection(listener, null);
    if (refused >= 0) {
      this.counters.shed += 1;
      resetConnection(refused);
    }
    try {
      this.#reserve = openSync('/dev/null', 'r');
    } catch {
      // Another thread took it; the next round tries without a reserve.
    }
    return refused >= 0;
  }

  #take(fd: number, { network, key }: Listener): void {
    const own = this.#own;
    const peer = this.#peer;
    if (readSocketName(fd, own) < 0) {
      this.counters.failed += 1;
      closeDescriptor(fd);
      return;
    }
    const six = own[0] === 10;
    const ip = six ? ipv6Text(own, 8) : ipv4Text(own, 4);
    const port = socketPort(own);
    const sourcePort = socketPort(peer);

    const synLength = readSavedSyn(fd, this.#syn);
    const ipAt = synLength > 0 ? savedSynIpAt(this.#syn, synLength) : -1;
    let syn = ipAt < 0 ? undefined : parseSyn(this.#syn, ipAt, synLength);
    const ring = this.#options.accepted;
    if (ring) {
      const at = six ? 8 : 4;
      ring.push(tupleKey(ring.seeds, key, six ? 16 : 4, peer, at, sourcePort, own, at, port), syn?.sequence);
    }

    const decoy = this.#find(network, ip);
    const agent = this.#networks.get(network)?.agent;
    if (!decoy) {
      this.counters.unknown += 1;
      resetConnection(fd);
      return;
    }
    if (syn) {
      const address = six ? undefined : ((own[4] << 24) | (own[5] << 16) | (own[6] << 8) | own[7]) >>> 0;
      syn = identifySyn(syn, { address, port }, hiddenFrom(decoy.persona));
    }
    const accepted = new AcceptedDescriptor(fd);
    try {
      this.#options.onConnection({
        get socket() {
          return accepted.adopt();
        },
        takeDescriptor: accepted.take,
        source: { ip: six ? ipv6Text(peer, 8) : ipv4Text(peer, 4), port: sourcePort },
        destination: { ip, port },
        network,
        diversion: decoy.diversion,
        persona: decoy.persona,
        names: this.#names.get(network),
        sourceMac: ipAt < 0 || agent !== undefined ? undefined : savedSynMac(this.#syn, ipAt),
        syn,
        acceptedAt: this.#clock(),
        agent,
      });
      this.counters.delivered += 1;
    } catch (error) {
      this.counters.failed += 1;
      accepted.drop();
      this.#complain('a connection was not taken over', { error: String(error) });
    }
  }

  #find(network: string, ip: string): Decoy | null {
    const known = this.#decoys.get(network)?.get(ip);
    if (known !== undefined) return known;
    const decoy = this.#networks.get(network)?.directory.find(ip) ?? null;
    if (this.#decoysCached >= decoyCacheEntries) this.#forgetDecoys();
    this.#decoysCached += 1;
    const cache = this.#decoys.get(network) ?? new Map<string, Decoy | null>();
    this.#decoys.set(network, cache.set(ip, decoy));
    return decoy;
  }

  #forgetDecoys(): void {
    this.#decoys = new Map();
    this.#decoysCached = 0;
  }

  /** At most one line a second, whatever an attacker does. */
  #complain(message: string, fields: Record<string, unknown>): void {
    const now = performance.now();
    if (this.#complaintAt !== 0 && now - this.#complaintAt < 1000) return;
    this.#complaintAt = now;
    this.#options.log.warn(message, { ...fields, ...this.counters });
  }
}

/** The soft limit on open files of this process; Node has raised it to the hard one at its start. */
export function descriptorLimit(): number {
  const line = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
  return line === null || line[1] === 'unlimited' ? 1 << 20 : Number(line[1]);
}
