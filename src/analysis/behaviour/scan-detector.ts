// Finds who goes over ports and decoys instead of to one: port scans, sweeps, both at once, and slow ones. A touch that is
// part of a scan that goes on is counted there and nowhere else, so a scan of 65,535 ports is one verdict.

import type { Micros } from '../../base/clock.ts';
import type { BehaviourThresholds } from '../../model/analysis-settings.ts';
import type { Behaviour } from '../../model/insight.ts';
import type { About, Describe, Episode } from './episode.ts';
import { aboutPort, type EpisodeTable } from './episode-table.ts';
import { behaviourBit, episodeKey } from './episodes.ts';
import type { SourceState } from './source-state.ts';
import { spanText, thresholdText } from './span-text.ts';
import type { Touch } from './touch.ts';
import type { TouchCounts } from './touch-list.ts';

/** With the next one they are one block scan. */
const maxParts = 3;
/** Events of several writers come so much out of order. */
const latenessMicros = 60 * 1e6;

const blockKey = episodeKey('block-scan', 0);
const slowKey = episodeKey('slow-scan', 0);
const blockBit = behaviourBit('block-scan');
const sweepBit = behaviourBit('sweep');
const portScanBit = behaviourBit('port-scan');
const slowBit = behaviourBit('slow-scan');
const scanBits = blockBit | sweepBit | portScanBit | slowBit;
const nowhere: About = { key: '' };

/** Touches a source's list has to hold so that every threshold can be reached. */
export const touchesKept = ({ scanPorts, scanHosts, blockTargets }: BehaviourThresholds): number =>
  Math.ceil(1.25 * Math.max(48, scanPorts, scanHosts, blockTargets));

export class ScanDetector {
  readonly #thresholds: BehaviourThresholds;
  readonly #table: EpisodeTable;
  readonly #window: Micros;
  readonly #slowWindow: Micros;
  /** With fewer targets there is nothing. */
  readonly #least: number;
  readonly #counts: TouchCounts = {
    portsOfHost: 0,
    hostsOfPort: 0,
    targets: 0,
    slowPortsOfHost: 0,
    slowHostsOfPort: 0,
    slowTargets: 0,
  };

  constructor(thresholds: BehaviourThresholds, table: EpisodeTable) {
    this.#thresholds = thresholds;
    this.#table = table;
    this.#window = thresholds.scanWindowMs * 1000;
    this.#least = Math.min(thresholds.scanPorts, thresholds.scanHosts, thresholds.blockTargets);
    this.#slowWindow = thresholds.slowWindowMs * 1000;
  }

  /** The touch's place in the source's list; -1 when it was part of a scan. */
  touch(state: SourceState, touch: Touch): number {
    if (state.scan !== undefined && this.#goesOn(state, state.scan, touch)) return -1;
    const { touches } = state;
    const { at, host, port } = touch;
    const late = at < state.latest;
    const now = late && state.latest - at <= latenessMicros ? state.latest : at;
    const { index: known, near, oldest } = touches.survey(host, port, now - this.#window, now);
    const fresh = known < 0 || touches.time(known) < now - this.#window;
    const index = known < 0 ? touches.add(host, port, touch.hostName, oldest) : known;
    touches.note(index, at, touch.hits, touch.flags, touch.record);
    // Another packet to the same target makes no more targets.
    if (!fresh || touches.size < this.#least) return index;
    // Too few of the window for any threshold, and a slow scan is known already: there is nothing to find.
    if (!late && near + 1 < this.#least && ((state.episodes?.behaviours ?? 0) & slowBit) !== 0) return index;
    if (this.#judge(state, touch, now)) return -1;
    // A log with the newest first: what belongs together was seen before, and came after.
    return late && now === at && this.#judge(state, touch, at + this.#window) ? -1 : index;
  }

  /** Packets of a source whose targets are not listed: part of what it does. */
  more(state: SourceState, at: Micros, hits: number): void {
    const { scan } = state;
    if (!scan || at > scan.end + this.#table.pauseOf(scan.behaviour)) return;
    scan.count(at, hits);
    if (at > scan.countedUntil) scan.unlisted += hits;
    this.#table.mark(scan);
  }

  #goesOn(state: SourceState, last: Episode, touch: Touch): boolean {
    const { at } = touch;
    // Almost always it is the scan of the touch before.
    if (concerns(last, touch) && this.#table.lasts(last, at)) {
      this.#extend(last, state, touch);
      return true;
    }
    const { episodes } = state;
    const held = episodes === undefined ? 0 : episodes.behaviours;
    if ((held & scanBits) === 0) return false;
    const scan =
      ((held & blockBit) !== 0 ? this.#table.active(episodes, blockKey, at) : undefined) ??
      ((held & sweepBit) !== 0 ? this.#table.active(episodes, episodeKey('sweep', touch.port), at) : undefined) ??
      ((held & portScanBit) !== 0 ? this.#table.active(episodes, episodeKey('port-scan', touch.host), at) : undefined);
    if (scan) {
      this.#extend(scan, state, touch);
      return true;
    }
    if ((held & slowBit) !== 0) {
      // Mostly the one of the touch before, which is found without a search.
      const known = last.behaviour === 'slow-scan' && this.#table.lasts(last, at);
      const slow = known ? last : this.#table.active(episodes, slowKey, at);
      if (slow) {
        this.#extend(slow, state, touch);
        if (at > state.slowUntil) state.slowUntil = at;
      }
    }
    return false;
  }

  #extend(scan: Episode, state: SourceState, touch: Touch): void {
    scan.count(touch.at, touch.hits);
    scan.target(touch.host, touch.hostName, touch.port);
    scan.flags |= touch.flags;
    scan.rest(touch.record);
    // What is the same is not written: that costs more than to see it.
    if (scan.diversion !== touch.diversion) scan.diversion = touch.diversion;
    if (state.tool !== undefined && scan.tool !== state.tool) scan.tool = state.tool;
    if (state.scan !== scan) state.scan = scan;
    this.#table.mark(scan);
  }

  /** True when the touch became part of a scan that is fast. */
  #judge(state: SourceState, touch: Touch, now: Micros): boolean {
    const { scanPorts, scanHosts, blockTargets } = this.#thresholds;
    const counts = this.#counts;
    // What is in a slow scan already founds no second one; older events than that are another time's.
    const rested = state.slowUntil < now ? now - state.slowUntil - 1 : this.#slowWindow;
    const slowWindow = Math.max(this.#window, Math.min(this.#slowWindow, rested));
    state.touches.count(touch.host, touch.port, now, this.#window, slowWindow, counts);
    const from = now - this.#window;
    if (counts.portsOfHost >= scanPorts) {
      const about = { key: touch.hostName, destination: touch.hostName };
      this.#found('port-scan', touch.host, about, state, touch, from, now, (index) => state.touches.host(index) === touch.host);
    } else if (counts.hostsOfPort >= scanHosts) {
      const about = { key: aboutPort(touch.port), port: touch.port };
      this.#found('sweep', touch.port, about, state, touch, from, now, (index) => state.touches.port(index) === touch.port);
    } else if (counts.targets >= blockTargets) {
      const block = this.#found('block-scan', 0, nowhere, state, touch, from, now, () => true);
      if (block) this.#unite(block, state, touch.at);
    } else {
      const slow =
        counts.slowPortsOfHost >= scanPorts || counts.slowHostsOfPort >= scanHosts || counts.slowTargets >= blockTargets;
      // Its touches stay in the list: it may become faster.
      if (slow && ((state.episodes?.behaviours ?? 0) & slowBit) === 0) {
        // Touches outlive a process, and so does what they were part of.
        const told = this.#table.toldUntil('slow-scan', state.ip, nowhere, touch.at);
        if (told > state.slowUntil) {
          state.slowUntil = told;
          return this.#judge(state, touch, now);
        }
        this.#foundSlow(state, touch, now - slowWindow, now);
      }
      return false;
    }
    this.#countParts(state, touch.at);
    return true;
  }

  /** The touches that made it leave the list. */
  #found(
    behaviour: 'port-scan' | 'sweep' | 'block-scan',
    target: number,
    about: About,
    state: SourceState,
    touch: Touch,
    from: Micros,
    now: Micros,
    belongs: (index: number) => boolean,
  ): Episode | undefined {
    const { touches } = state;
    const scan = this.#open(behaviour, target, about, state, touch, from, now, belongs);
    for (let index = touches.size - 1; index >= 0; index -= 1)
      if (belongs(index) && touches.time(index) >= from && touches.time(index) <= now) touches.remove(index);
    return scan;
  }

  #foundSlow(state: SourceState, touch: Touch, from: Micros, now: Micros): void {
    this.#open('slow-scan', 0, nowhere, state, touch, from, now, () => true);
    if (touch.at > state.slowUntil) state.slowUntil = touch.at;
  }

  #open(
    behaviour: Behaviour,
    target: number,
    about: About,
    state: SourceState,
    touch: Touch,
    from: Micros,
    now: Micros,
    belongs: (index: number) => boolean,
  ): Episode | undefined {
    const { touches } = state;
    const part: number[] = [];
    let start = touch.at;
    for (let index = 0; index < touches.size; index += 1) {
      if (!belongs(index) || touches.time(index) < from || touches.time(index) > now) continue;
      part.push(index);
      start = Math.min(start, touches.time(index));
    }
    part.sort((a, b) => touches.time(a) - touches.time(b));
    const describe = describeAs(behaviour, this.#thresholds);
    const scan = this.#table.open(state, behaviour, target, { about, start, at: touch.at, describe });
    if (!scan) return undefined;
    for (const index of part) {
      scan.count(touches.time(index), touches.hits(index));
      scan.target(touches.host(index), touches.name(index), touches.port(index));
      scan.flags |= touches.flags(index);
      scan.rest(touches.records[index]);
    }
    scan.severity = behaviour === 'port-scan' || behaviour === 'sweep' ? 'low' : 'medium';
    scan.learn(behaviour === 'port-scan' ? ['T1046'] : ['T1046', 'T1595.001']);
    scan.diversion = touch.diversion;
    if (state.tool !== undefined) scan.tool = state.tool;
    state.scan = scan;
    this.#table.mark(scan);
    return scan;
  }

  /** Many scans of one source at once are one block scan. */
  #countParts(state: SourceState, at: Micros): void {
    if (((state.episodes?.behaviours ?? 0) & blockBit) !== 0) return;
    const parts = this.#parts(state, at);
    if (parts.length <= maxParts) return;
    const start = Math.min(...parts.map((part) => part.start));
    const block = this.#table.open(state, 'block-scan', 0, {
      about: nowhere,
      start,
      at,
      describe: describeAs('block-scan', this.#thresholds),
    });
    if (!block) return;
    block.severity = 'medium';
    block.learn(['T1046', 'T1595.001']);
    this.#unite(block, state, at);
  }

  #parts(state: SourceState, at: Micros): Episode[] {
    const parts: Episode[] = [];
    for (const one of state.episodes?.values ?? parts)
      if ((one.behaviour === 'port-scan' || one.behaviour === 'sweep') && this.#table.lasts(one, at)) parts.push(one);
    return parts;
  }

  /** What was told of them stays told, with a word about where it went on. */
  #unite(block: Episode, state: SourceState, at: Micros): void {
    const fresh = block.floor === undefined;
    for (const part of this.#parts(state, at)) {
      block.ports.addAll(part.ports);
      block.hosts.addAll(part.hosts);
      block.onlyHost = block.hosts.size === 1 ? part.onlyHost : undefined;
      if (fresh) block.hits += part.hits;
      block.unlisted += part.unlisted;
      block.start = Math.min(block.start, part.start);
      block.end = Math.max(block.end, part.end);
      block.flags |= part.flags;
      block.diversion ??= part.diversion;
      for (const record of part.records.slice(0, 4)) block.rest(record);
      this.#table.end(part, `It is one part of the block scan ${block.id}, which counts on.`);
      state.episodes?.deleteWhere((one) => one === part);
    }
    state.scan = block;
    this.#table.mark(block);
  }
}

/** Whether a fast scan takes the touch in. */
function concerns({ behaviour, about }: Episode, { port, hostName }: Touch): boolean {
  if (behaviour === 'sweep') return about.port === port;
  return behaviour === 'port-scan' ? about.destination === hostName : behaviour === 'block-scan';
}

function describeAs(behaviour: Behaviour, thresholds: BehaviourThresholds): Describe {
  const { scanPorts, scanHosts, blockTargets, scanWindowMs, slowWindowMs } = thresholds;
  const window = thresholdText(scanWindowMs);
  const figures = `${scanPorts} ports of one decoy, ${scanHosts} decoys at one port or ${blockTargets} ports of decoys`;
  const threshold =
    behaviour === 'port-scan'
      ? `${scanPorts} ports of one decoy in ${window}`
      : behaviour === 'sweep'
        ? `${scanHosts} decoys at one port in ${window}`
        : behaviour === 'block-scan'
          ? `${blockTargets} ports of decoys, or more than ${maxParts} scans at once, in ${window}`
          : `${figures} in ${thresholdText(slowWindowMs)}, and not in ${window}`;
  return (scan) => [
    `${scan.portWords} of ${scan.hostText} in ${spanText(scan.end - scan.start)}, by ${scan.hits} sessions and packets (threshold: ${threshold}).`,
    ...(scan.unlisted > 0
      ? [`${scan.unlisted} of the packets went to targets beyond those a record lists: there may be more.`]
      : []),
  ];
}
