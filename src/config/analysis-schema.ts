// The keys below `analysis:`: thresholds of behaviour, databases of places, rule files of one's own. Defaults are justified
// in docs/behaviour.md.

import { z } from 'zod';
import type { AnalysisSettings } from '../model/analysis-settings.ts';
import * as forms from './forms.ts';
import { paths } from './paths-form.ts';
import { fallback, optional } from './schema-keys.ts';

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
const mebibyte = 2 ** 20;

const window = (least: number, most: number, written: string, description: string) =>
  fallback(forms.duration(least, most), written, 'duration', description);
const count = (least: number, most: number, written: number, description: string) =>
  fallback(forms.wholeNumber(least, most), written, 'number', description);

const behaviour = z.strictObject({
  'scan-window': window(1000, hour, '5m', 'The time in which the three figures below make a scan.'),
  'scan-ports': count(2, 256, 15, 'Different ports of one decoy: a port scan.'),
  'scan-hosts': count(2, 256, 25, 'Different decoys at one port: a sweep.'),
  'block-targets': count(4, 256, 50, 'Different ports of decoys, where neither figure above is reached: a block scan.'),
  'slow-window': window(hour, 30 * day, '7d', 'The same figures, reached only in so long: a slow scan.'),
  'repeat-window': window(minute, day, '30m', 'The time in which sessions with one port of one decoy are counted.'),
  'repeated-sessions': count(2, 65_535, 20, 'Such sessions that said something: repeated access.'),
  'silent-sessions': count(2, 65_535, 20, 'Such sessions that said nothing: a silent opener.'),
  'guess-window': window(minute, day, '30m', 'The time in which logins at one port are counted, over all decoys.'),
  'guessed-credentials': count(2, 1000, 5, 'Different credentials: brute force.'),
  'guessed-logins': count(2, 65_535, 15, 'Logins whose credentials cannot be read (SSH, RDP, SMB, VNC): brute force as well.'),
  'crawl-window': window(1000, day, '10m', 'The time in which paths asked of one decoy are counted.'),
  'crawled-paths': count(2, 1000, 20, 'Different paths that are not there: a crawl.'),
  'flood-window': window(1000, hour, '1m', 'The time in which packets to one port of one decoy are counted.'),
  'flood-packets': count(100, 1_000_000, 1000, 'Such packets, or sessions that said nothing: a flood.'),
  'second-phase-window': window(
    1000,
    day,
    '1h',
    'So long after a SYN of a stateless scanner a handshake with a payload is its second phase.',
  ),
  pause: window(minute, day, '30m', 'A behaviour that rests for so long is over; what follows is a new one.'),
  sources: count(64, 1_000_000, 65_536, 'Sources remembered at once; beyond it the least interesting are forgotten and counted.'),
  memory: fallback(forms.size(mebibyte, 2 ** 34), '64MiB', 'size', 'The same in bytes.'),
});

const geo = z.strictObject({
  country: optional(
    forms.absolutePath,
    'path',
    'An MMDB file of countries instead of the one that comes with Weir; it is read at the start.',
  ),
  asn: optional(forms.absolutePath, 'path', 'The same for autonomous systems.'),
});

export const analysisSection = z.strictObject({
  behaviour: behaviour.prefault({}).meta({
    description: 'From when on something has a name. Why these figures: [docs/behaviour.md](behaviour.md).',
  }),
  geo: geo.prefault({}).meta({ description: 'Where addresses are.' }),
  rules: fallback(paths, [], 'paths', 'Signature files of your own, or directories of them, besides those that come with Weir.'),
});

/** As analysis takes it. */
export function analysisSettings({ behaviour: b, geo: files, rules }: z.output<typeof analysisSection>): AnalysisSettings {
  return Object.freeze({
    behaviour: Object.freeze({
      scanWindowMs: b['scan-window'],
      scanPorts: b['scan-ports'],
      scanHosts: b['scan-hosts'],
      blockTargets: b['block-targets'],
      slowWindowMs: b['slow-window'],
      repeatWindowMs: b['repeat-window'],
      repeatedSessions: b['repeated-sessions'],
      silentSessions: b['silent-sessions'],
      guessWindowMs: b['guess-window'],
      guessedCredentials: b['guessed-credentials'],
      guessedLogins: b['guessed-logins'],
      crawlWindowMs: b['crawl-window'],
      crawledPaths: b['crawled-paths'],
      floodWindowMs: b['flood-window'],
      floodPackets: b['flood-packets'],
      secondPhaseWindowMs: b['second-phase-window'],
      pauseMs: b.pause,
      sources: b.sources,
      memoryBytes: b.memory,
    }),
    geo: Object.freeze(files),
    rules: Object.freeze(rules),
  });
}

/** What holds where nothing is written. */
export const defaultAnalysis: AnalysisSettings = analysisSettings(analysisSection.parse({}));
