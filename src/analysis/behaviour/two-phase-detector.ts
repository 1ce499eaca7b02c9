// Joins the two phases of stateless scanners: a SYN no ordinary stack sends, and minutes later a handshake from the same
// source to the same port of the same decoy, with the payload. Alone neither tells what the other is for.

import type { Micros } from '../../base/clock.ts';
import type { BehaviourThresholds } from '../../model/analysis-settings.ts';
import type { ProbeRecord } from '../../model/event.ts';
import type { SessionRecord, SynDetails } from '../../model/session.ts';
import { aboutPort, type EpisodeTable } from './episode-table.ts';
import { episodeKey } from './episodes.ts';
import { FirstPhases, irregularities, irregularityWords } from './first-phases.ts';
import { portText } from './port-bits.ts';
import type { SourceState } from './source-state.ts';
import { spanText, thresholdText } from './span-text.ts';
import { type Touch, targetNumber } from './touch.ts';

/** Pairs told in full. */
const maxTold = 5;

export class TwoPhaseDetector {
  readonly #thresholds: BehaviourThresholds;
  readonly #table: EpisodeTable;
  readonly #window: Micros;

  constructor(thresholds: BehaviourThresholds, table: EpisodeTable) {
    this.#thresholds = thresholds;
    this.#table = table;
    this.#window = thresholds.secondPhaseWindowMs * 1000;
  }

  /** A probe record with the SYN it began with. True when its TCP targets have to be told by `target`. */
  probe(state: SourceState, probe: ProbeRecord, syn: SynDetails): boolean {
    const marks = irregularities(syn, probe.targets[0]?.ip);
    if (marks === 0) return false;
    state.firstPhases ??= new FirstPhases();
    state.firstPhases.begin(probe, marks);
    return true;
  }

  target(state: SourceState, touch: Touch): void {
    state.firstPhases?.add(targetNumber(touch));
  }

  /** A session that ended, with something said in it. True when it was a second phase. */
  session(state: SourceState, touch: Touch, session: Omit<SessionRecord, 'chunks' | 'firstChunk'>): boolean {
    const { firstPhases } = state;
    if (!firstPhases || session.transport !== 'tcp') return false;
    // A handshake made without a stack is a first phase that went on, not a second one.
    if (session.syn && irregularities(session.syn, session.destination.ip) !== 0) return false;
    const first = firstPhases.find(targetNumber(touch), touch.at, this.#window);
    if (!first) return false;
    const key = episodeKey('two-phase-scan', touch.port);
    let episode = this.#table.active(state.episodes, key, touch.at);
    if (!episode) {
      const told: string[] = [];
      episode = this.#table.open(state, 'two-phase-scan', touch.port, {
        about: { key: aboutPort(touch.port), port: touch.port },
        start: first.at,
        at: touch.at,
        describe: (one) => [
          `A stateless SYN and then a handshake with a payload at port ${portText(touch.port)} of ${one.hostText} (threshold: within ${thresholdText(this.#thresholds.secondPhaseWindowMs)}).`,
          ...told,
        ],
      });
      if (!episode) return false;
      this.#told.set(episode, told);
      episode.severity = 'medium';
      episode.learn(['T1046', 'T1595']);
    }
    const told = this.#told.get(episode);
    if (told && told.length < maxTold)
      told.push(
        `Probe ${first.record} to ${touch.hostName}: ${irregularityWords(first.marks).join(', ')}. After ${spanText(touch.at - first.at)} session ${touch.record} brought ${session.bytesIn} bytes${session.syn ? ' from an ordinary stack' : ''}.`,
      );
    episode.rest(first.record);
    episode.rest(touch.record);
    // The SYN and the session.
    episode.count(touch.at, 2);
    episode.target(touch.host, touch.hostName, touch.port);
    episode.flags |= touch.flags;
    episode.diversion = touch.diversion;
    if (state.tool !== undefined) episode.tool = state.tool;
    this.#table.mark(episode);
    return true;
  }

  /** Sentences belong to their episode and go with it. */
  readonly #told = new WeakMap<object, string[]>();
}
