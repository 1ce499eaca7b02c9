// Who has which address on one interface: answers Neighbour Solicitations for living IPv6 decoys (the kernel does not,
// for addresses it only has by route), watches for hosts that own an address we claim, and asks for them where nobody could
// before (address-sweep.ts). An IPv6 decoy is claimed at its first touch: we ask the link whether somebody has it (RFC 4862),
// wait, then answer. A host that asks the same way always wins. No sockets, no timers: the owner calls `tick`.

import { isDeepStrictEqual } from 'node:util';
import type { Clock, Micros } from '../base/clock.ts';
import { RecencyMap } from '../base/recency-map.ts';
import {
  isZero,
  type NeighbourFrame,
  parseNeighbourFrame,
  renderAddressProbe,
  renderAdvertisement,
} from '../kernel/neighbour-frame.ts';
import { macText } from '../kernel/saved-syn.ts';
import { type Address, addressFromBytes, renderAddress } from '../model/address.ts';
import type { DecoyDirectory, DecoyGroup } from '../model/decoy.ts';
import { AddressSweep } from './address-sweep.ts';
import { Announcer, macBytes } from './announcer.ts';

/** A live host has, or is about to take, an address of a claimed range: give it back. */
export interface AddressConflict {
  readonly at: Micros;
  readonly ip: string;
  /** The host's. */
  readonly mac: string;
  readonly interface: string;
  /** As in NamedSocket.network; empty: the machine's own. */
  readonly network: string;
  readonly diversion: string;
  /** How it showed: its ARP, its advertisement, its own traffic, or its question before taking the address. */
  readonly evidence: 'arp' | 'advertisement' | 'solicitation' | 'address-detection';
}

export interface NeighbourCounters {
  frames: number;
  malformed: number;
  /** Advertisements sent for decoys. */
  answered: number;
  /** Own questions sent before a claim. */
  probed: number;
  conflicts: number;
  /** Solicitations not answered because too many addresses waited for their claim. */
  refused: number;
  /** Conflicts not reported: the same again within a minute, or too many. */
  suppressed: number;
  /** Probes sent for decoys that are about to announce themselves, and announcements. */
  announceProbes: number;
  announced: number;
  /** Probes sent to find live hosts at the addresses of decoys, and hosts found by them. */
  sweepProbes: number;
  sweepConflicts: number;
  /** Addresses of decoys beyond the bound, living or dead, which nobody asked for. */
  sweepUnasked: number;
}

export const noNeighbourCounters = (): NeighbourCounters => ({
  frames: 0,
  malformed: 0,
  answered: 0,
  probed: 0,
  conflicts: 0,
  refused: 0,
  suppressed: 0,
  announceProbes: 0,
  announced: 0,
  sweepProbes: 0,
  sweepConflicts: 0,
  sweepUnasked: 0,
});

export interface NeighbourKeeperOptions {
  /** Empty: the machine's own, where live hosts are looked for before anything is claimed. Others are swept. */
  readonly network: string;
  readonly interface: string;
  /** The interface's own MAC, six bytes. */
  readonly mac: Uint8Array;
  readonly directory: DecoyDirectory;
  /** Diversions that use this interface; absent: all. */
  readonly diversions?: readonly string[];
  readonly clock: Clock;
  /** False: the link took no frame. */
  readonly send: (frame: Uint8Array) => boolean;
  readonly onConflict: (conflict: AddressConflict) => void;
}

/** RFC 4862 waits RetransTimer (1 s) after one probe; a real owner on a LAN answers within milliseconds. */
const claimWaitMicros = 300_000;
const maxClaimed = 65_536;
const maxPending = 4_096;
const maxAskers = 4;
const maxReported = 4_096;
const reportAgainMicros = 60_000_000;
const conflictsPerMinute = 256;

/** Found by our own questions while too many were reported already: they wait for the next minute. */
const maxDeferred = 4_096;

/** `directory`: the one that was known to say so. */
interface Claim {
  readonly mac: Uint8Array;
  directory: DecoyDirectory;
}

interface PendingClaim extends Claim {
  readonly due: Micros;
  readonly target: Uint8Array;
  readonly askers: { mac: Uint8Array; ip: Uint8Array }[];
}

export class NeighbourKeeper {
  readonly counters: NeighbourCounters = noNeighbourCounters();
  readonly #announcer: Announcer;
  readonly #sweep: AddressSweep;
  readonly #options: NeighbourKeeperOptions;
  #directory: DecoyDirectory;
  #diversions: ReadonlySet<string> | undefined;
  /** Target in hex -> the claim; least recently asked first. */
  readonly #claimed = new RecencyMap<string, Claim>();
  readonly #pending = new Map<string, PendingClaim>();
  readonly #reported = new RecencyMap<string, Micros>();
  readonly #deferred = new Map<string, Omit<AddressConflict, 'at' | 'interface' | 'network'>>();
  /** A sweep of everybody in the directory but those in `#swept` shall begin. */
  #sweepDue: boolean;
  #swept: DecoyDirectory | undefined;
  #minute = 0;
  #minuteConflicts = 0;

  constructor(options: NeighbourKeeperOptions) {
    this.#options = options;
    this.#directory = options.directory;
    this.#diversions = options.diversions && new Set(options.diversions);
    const { network, clock, mac, send } = options;
    this.#sweep = new AddressSweep({
      clock,
      mac,
      send,
      counted: (what, count) => {
        this.counters[what] += count;
      },
    });
    this.#sweepDue = network !== '';
    this.#announcer = new Announcer({
      clock,
      send,
      counted: (what) => {
        this.counters[what] += 1;
      },
    });
  }

  /**
   * Who lives where from now on. Claims of those who live there still, with the same MAC, go on, and so do answers somebody
   * waits for; what was given back is no longer answered. Decoys that are new in a segment are swept for.
   */
  setDirectory(directory: DecoyDirectory, diversions?: readonly string[]): void {
    if (this.#options.network !== '' && !sameDecoys(this.#directory, directory)) {
      if (!this.sweeping) this.#swept = this.#directory;
      this.#sweepDue = true;
    }
    this.#directory = directory;
    this.#diversions = diversions && new Set(diversions);
  }

  /** One received Ethernet frame. */
  frame(bytes: Uint8Array): void {
    this.counters.frames += 1;
    const frame = parseNeighbourFrame(bytes);
    if (!frame) {
      this.counters.malformed += 1;
      return;
    }
    switch (frame.kind) {
      case 'arp-request':
      case 'arp-reply':
        if (!isZero(frame.sender)) this.#checkOwner(frame.sender, frame.mac, 'arp', this.#answersSweep(frame, bytes));
        break;
      case 'advertisement':
        this.#checkOwner(frame.target, frame.mac, 'advertisement');
        break;
      case 'solicitation':
        if (isZero(frame.sender)) this.#checkOwner(frame.target, frame.mac, 'address-detection');
        else {
          this.#checkOwner(frame.sender, frame.mac, 'solicitation');
          this.#solicited(frame);
        }
    }
  }

  /** Claims whose wait is over are answered, conflicts that had to wait are reported. Call about every 50 ms while `waiting`. */
  tick(): void {
    const now = this.#options.clock();
    for (const [key, claim] of this.#pending) {
      if (claim.due > now) break;
      this.#pending.delete(key);
      if (!this.#holds(claim.target, claim)) continue;
      if (this.#claimed.size >= maxClaimed && this.#claimed.oldest) this.#claimed.delete(this.#claimed.oldest[0]);
      this.#claimed.set(key, { mac: claim.mac, directory: claim.directory });
      for (const asker of claim.askers) this.#answer(claim.target, claim.mac, asker.mac, asker.ip);
    }
    for (const [ip, found] of this.#deferred) {
      if (!this.#mayReport()) break;
      this.#deferred.delete(ip);
      // Others may have told of it meanwhile.
      if (this.#directory.find(ip)) this.#report(found, false);
    }
  }

  /** Asks for live hosts at the addresses of decoys, with at most `budget` frames, until about `until`; how many. */
  sweep(budget: number, until: Micros): number {
    if (this.#sweepDue) {
      this.#sweepDue = false;
      const soon = this.#announcer.choose(this.#directory, this.#diversions).map(({ address }) => address);
      this.#sweep.begin({
        directory: this.#directory,
        diversions: this.#diversions,
        swept: this.#swept,
        first: soon.flatMap(({ family, value }) => (family === 4 ? Number(value) : [])),
      });
    }
    return this.#sweep.tick(this.#directory, budget, until);
  }

  get sweeping(): boolean {
    return this.#sweepDue || this.#sweep.waiting;
  }

  /** Decoys announce themselves, with at most `budget` frames; how many. Call about every 50 ms while `announcing`. */
  announce(budget: number): number {
    return this.#announcer.tick(this.#directory, this.#diversions, budget);
  }

  /** Not before a sweep has asked for those who shall. */
  get announcing(): boolean {
    return this.#announcer.waiting && !this.#sweepDue && this.#sweep.firstAsked;
  }

  get waiting(): boolean {
    return this.#pending.size > 0 || this.#deferred.size > 0;
  }

  #groupDiversion(address: Address): string | undefined {
    const group = this.#directory.groupOf(address);
    if (group?.kind !== 'claimed' || (this.#diversions && !this.#diversions.has(group.diversion))) return undefined;
    return group.diversion;
  }

  /** What a sweep asks has no sender, and comes back to the interface itself. */
  #answersSweep({ kind, target }: NeighbourFrame, bytes: Uint8Array): boolean {
    return kind === 'arp-reply' && isZero(target) && this.#options.mac.every((byte, index) => bytes[index] === byte);
  }

  #checkOwner(bytes: Uint8Array, mac: Uint8Array, evidence: AddressConflict['evidence'], swept = false): void {
    const address = addressFromBytes(bytes);
    const diversion = this.#groupDiversion(address);
    if (diversion === undefined) return;
    const text = macText(mac, 0);
    if (!text || text === macText(this.#options.mac, 0)) return;
    const ip = renderAddress(address);
    // A decoy's own MAC comes back when a switch floods or mirrors what we sent.
    if (text === this.#directory.find(ip)?.mac) return;
    const key = hexOf(bytes);
    this.#pending.delete(key);
    this.#claimed.delete(key);
    this.#announcer.conflict(ip);
    this.#report({ ip, mac: text, diversion, evidence }, swept);
  }

  #mayReport(): boolean {
    const minute = Math.floor(this.#options.clock() / 60_000_000);
    if (minute !== this.#minute) {
      this.#minute = minute;
      this.#minuteConflicts = 0;
    }
    return this.#minuteConflicts < conflictsPerMinute;
  }

  #report(found: Omit<AddressConflict, 'at' | 'interface' | 'network'>, swept: boolean): void {
    const { ip } = found;
    const { network, interface: link, clock } = this.#options;
    const at = clock();
    const last = this.#reported.get(ip);
    const isFresh = (last === undefined || at - last >= reportAgainMicros) && !this.#deferred.has(ip);
    if (swept && isFresh) this.counters.sweepConflicts += 1;
    if (!isFresh || !this.#mayReport()) {
      if (isFresh && swept && this.#deferred.size < maxDeferred) this.#deferred.set(ip, found);
      else this.counters.suppressed += 1;
      return;
    }
    this.#minuteConflicts += 1;
    this.#reported.delete(ip);
    if (this.#reported.size >= maxReported && this.#reported.oldest) this.#reported.delete(this.#reported.oldest[0]);
    this.#reported.set(ip, at);
    this.counters.conflicts += 1;
    this.#options.onConflict({ at, interface: link, network, ...found });
  }

  /** The claim is for who lives there now. Looked up once for each directory there is. */
  #holds(target: Uint8Array, claim: Claim): boolean {
    if (claim.directory === this.#directory) return true;
    const address = addressFromBytes(target);
    if (this.#groupDiversion(address) === undefined) return false;
    const { mac } = this.#directory.find(renderAddress(address)) ?? {};
    if (mac !== macText(claim.mac, 0)) return false;
    claim.directory = this.#directory;
    return true;
  }

  #solicited(frame: NeighbourFrame): void {
    const key = hexOf(frame.target);
    const claim = this.#claimed.get(key);
    if (claim) {
      this.#claimed.delete(key);
      if (this.#holds(frame.target, claim)) {
        this.#claimed.set(key, claim);
        this.#answer(frame.target, claim.mac, frame.mac, frame.sender);
        return;
      }
    }
    const pending = this.#pending.get(key);
    if (pending && this.#holds(frame.target, pending)) {
      if (pending.askers.length < maxAskers) pending.askers.push({ mac: frame.mac.slice(), ip: frame.sender.slice() });
      return;
    }
    const address = addressFromBytes(frame.target);
    if (this.#groupDiversion(address) === undefined) return;
    const decoy = this.#directory.find(renderAddress(address));
    if (!decoy?.mac) return;
    const last = this.#reported.get(renderAddress(address));
    if (last !== undefined && this.#options.clock() - last < reportAgainMicros) return;
    if (this.#pending.size >= maxPending) {
      this.counters.refused += 1;
      return;
    }
    const target = frame.target.slice();
    this.#pending.delete(key);
    this.#pending.set(key, {
      due: this.#options.clock() + claimWaitMicros,
      target,
      mac: macBytes(decoy.mac),
      directory: this.#directory,
      askers: [{ mac: frame.mac.slice(), ip: frame.sender.slice() }],
    });
    this.counters.probed += 1;
    this.#options.send(renderAddressProbe(this.#options.mac, target));
  }

  #answer(target: Uint8Array, mac: Uint8Array, toMac: Uint8Array, to: Uint8Array): void {
    this.counters.answered += 1;
    this.#options.send(renderAdvertisement(mac, target, toMac, to));
  }
}

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');

const livesIn = ({ kind, diversion, ranges, population }: DecoyGroup): object => ({ kind, diversion, ranges, population });

/** Whatever was given back. */
const sameDecoys = (one: DecoyDirectory, other: DecoyDirectory): boolean =>
  isDeepStrictEqual(one.groups.map(livesIn), other.groups.map(livesIn));
