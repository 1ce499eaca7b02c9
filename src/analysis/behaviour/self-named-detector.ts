// Sources that say who they are: scanners that publish their name, and web crawlers. They say so; that it is true nobody
// checked, so these verdicts are never certain.

import type { EpisodeTable } from './episode-table.ts';
import { episodeKey } from './episodes.ts';
import type { KnownScanner } from './known-scanners.ts';
import type { SourceState } from './source-state.ts';
import { spanText } from './span-text.ts';
import type { Touch } from './touch.ts';

export class SelfNamedDetector {
  readonly #table: EpisodeTable;

  constructor(table: EpisodeTable) {
    this.#table = table;
  }

  session(state: SourceState, touch: Touch, scanner: KnownScanner): void {
    const behaviour = scanner.kind === 'crawler' ? 'crawler' : 'research-scanner';
    const key = episodeKey(behaviour, 0);
    let episode = this.#table.active(state.episodes, key, touch.at);
    if (!episode) {
      episode = this.#table.open(state, behaviour, 0, {
        about: { key: '' },
        start: touch.at,
        at: touch.at,
        describe: (one) => [
          `${one.hits} ${one.hits === 1 ? 'session says' : 'sessions say'} it is ${scanner.name}, at ${one.portWords} of ${one.hostText} in ${spanText(one.end - one.start)} (threshold: one).`,
          `What it says: "${scanner.sample}". Published: ${scanner.reference}`,
        ],
      });
      if (!episode) return;
      episode.severity = 'info';
      episode.confidence = 'likely';
      episode.learn(['T1595.001']);
    }
    episode.tool = scanner.name;
    episode.count(touch.at, 1);
    episode.target(touch.host, touch.hostName, touch.port);
    episode.flags |= touch.flags;
    episode.rest(touch.record);
    episode.diversion = touch.diversion;
    this.#table.mark(episode);
  }
}
