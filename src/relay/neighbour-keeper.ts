// Who has which address on one interface: answers Neighbour Solicitations for living IPv6 decoys (the kernel does not,
// for addresses it only has by route) and watches ARP and neighbour discovery for hosts that own an address we claim.
// An IPv6 decoy is claimed at its first touch: we ask the link whether somebody has it (RFC 4862), wait, then answer.
// A host that asks the same way before taking an address always wins. No sockets, no timers: the owner calls `tick`.

import type { Clock, Micros } from '../base/clock.ts';
import {
  isZero,
  type NeighbourFrame,
  parseNeighbourFrame,
  renderAddressProbe,
  renderAdvertisement,
} from '../kernel/neighbour-frame.ts';
import { macText } from '../kernel/saved-syn.ts';
import { type Address, addressFromBytes, renderAddress } from '../model/address.ts';
import type { DecoyDirectory } from '../model/decoy.ts';
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
}

export interface NeighbourKeeperOptions {
  /** Empty: the machine's own. */
  readonly network: string;
  readonly interface: string;
  /** The interface's own MAC, six bytes. */
  readonly mac: Uint8Array;
  readonly directory: DecoyDirectory;
  /** Diversions that use this interface; absent: all. */
  readonly diversions?: readonly string[];
  readonly clock: Clock;
  readonly send: (frame: Uint8Array) => void;
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

interface PendingClaim {
  readonly due: Micros;
  readonly target: Uint8Array;
  readonly mac: Uint8Array;
  readonly askers: { mac: Uint8Array; ip: Uint8Array }[];
}

export class NeighbourKeeper {
  readonly counters: NeighbourCounters = {
    frames: 0,
    malformed: 0,
    answered: 0,
    probed: 0,
    conflicts: 0,
    refused: 0,
    suppressed: 0,
    announceProbes: 0,
    announced: 0,
  };
  readonly #announcer: Announcer;
  readonly #options: NeighbourKeeperOptions;
  #directory: DecoyDirectory;
  #diversions: ReadonlySet<string> | undefined;
  /** Target in hex -> the decoy's MAC; least recently asked first. */
  readonly #claimed = new Map<string, Uint8Array>();
  readonly #pending = new Map<string, PendingClaim>();
  readonly #reported = new Map<string, Micros>();
  #minute = 0;
  #minuteConflicts = 0;

  constructor(options: NeighbourKeeperOptions) {
    this.#options = options;
    this.#directory = options.directory;
    this.#diversions = options.diversions && new Set(options.diversions);
    this.#announcer = new Announcer({
      clock: options.clock,
      send: options.send,
      counted: (what) => {
        this.counters[what] += 1;
      },
    });
  }

  /** Claims start anew: what was given back is no longer answered. */
  setDirectory(directory: DecoyDirectory, diversions?: readonly string[]): void {
    this.#directory = directory;
    this.#diversions = diversions && new Set(diversions);
    this.#claimed.clear();
    this.#pending.clear();
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
        if (!isZero(frame.sender)) this.#checkOwner(frame.sender, frame.mac, 'arp');
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

  /** Claims whose wait is over are answered. Call about every 50 ms while `waiting`. */
  tick(): void {
    const now = this.#options.clock();
    for (const [key, claim] of this.#pending) {
      if (claim.due > now) break;
      this.#pending.delete(key);
      if (this.#claimed.size >= maxClaimed) this.#claimed.delete(this.#claimed.keys().next().value as string);
      this.#claimed.set(key, claim.mac);
      for (const asker of claim.askers) this.#answer(claim.target, claim.mac, asker.mac, asker.ip);
    }
  }

  /** Decoys announce themselves, with at most `budget` frames; how many. Call about every 50 ms while `announcing`. */
  announce(budget: number): number {
    return this.#announcer.tick(this.#directory, this.#diversions, budget);
  }

  get announcing(): boolean {
    return this.#announcer.waiting;
  }

  get waiting(): boolean {
    return this.#pending.size > 0;
  }

  #groupDiversion(address: Address): string | undefined {
    const group = this.#directory.groupOf(address);
    if (group?.kind !== 'claimed' || (this.#diversions && !this.#diversions.has(group.diversion))) return undefined;
    return group.diversion;
  }

  #checkOwner(bytes: Uint8Array, mac: Uint8Array, evidence: AddressConflict['evidence']): void {
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
    this.#report(ip, text, diversion, evidence);
  }

  #report(ip: string, mac: string, diversion: string, evidence: AddressConflict['evidence']): void {
    const at = this.#options.clock();
    const minute = Math.floor(at / 60_000_000);
    if (minute !== this.#minute) {
      this.#minute = minute;
      this.#minuteConflicts = 0;
    }
    const last = this.#reported.get(ip);
    if ((last !== undefined && at - last < reportAgainMicros) || this.#minuteConflicts >= conflictsPerMinute) {
      this.counters.suppressed += 1;
      return;
    }
    this.#minuteConflicts += 1;
    this.#reported.delete(ip);
    if (this.#reported.size >= maxReported) this.#reported.delete(this.#reported.keys().next().value as string);
    this.#reported.set(ip, at);
    this.counters.conflicts += 1;
    const { network, interface: link } = this.#options;
    this.#options.onConflict({ at, ip, mac, interface: link, network, diversion, evidence });
  }

  #solicited(frame: NeighbourFrame): void {
    const key = hexOf(frame.target);
    const mac = this.#claimed.get(key);
    if (mac) {
      this.#claimed.delete(key);
      this.#claimed.set(key, mac);
      this.#answer(frame.target, mac, frame.mac, frame.sender);
      return;
    }
    const pending = this.#pending.get(key);
    if (pending) {
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
    this.#pending.set(key, {
      due: this.#options.clock() + claimWaitMicros,
      target,
      mac: macBytes(decoy.mac),
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
