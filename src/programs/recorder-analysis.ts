// Puts analysis together for the recorder, from its settings and the installation: what cannot be loaded is said, shown in the
// status and left out, for records matter more than what is made of them.

import { join } from 'node:path';
import { Analyser, type AnalyserStore, type AnalysisParts } from '../analysis/analyser.ts';
import { BehaviourMemory } from '../analysis/behaviour/behaviour-memory.ts';
import { BehaviourTracker } from '../analysis/behaviour/behaviour-tracker.ts';
import { KnownScanners } from '../analysis/behaviour/known-scanners.ts';
import { extractFacts } from '../analysis/facts/extract-facts.ts';
import { FamilyIndex } from '../analysis/families/family-index.ts';
import { Places } from '../analysis/places/places.ts';
import { readPackedRules } from '../analysis/signatures/packed-rules.ts';
import { RememberedMatches } from '../analysis/signatures/remembered-matches.ts';
import { readRuleFiles } from '../analysis/signatures/rule-files.ts';
import { SignatureSet } from '../analysis/signatures/signature-set.ts';
import { type Clock, systemClock } from '../base/clock.ts';
import { asWeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { AnalysisSettings } from '../model/analysis-settings.ts';
import type { Place } from '../model/insight.ts';
import type { AnalysisStatus } from '../model/status.ts';

export interface AnalysisOptions {
  readonly settings: AnalysisSettings;
  /** The data directory: `analysis/` in it is a cache. */
  readonly data: string;
  /** The directory that holds `rules`. */
  readonly packageRoot: string;
  readonly store: AnalyserStore;
  readonly log: Log;
  /** Only for how often verdicts are told again; default the system's. */
  readonly clock?: Clock;
}

export interface RecorderAnalysis {
  readonly analyser: Analyser;
  readonly placeOf: (ip: string) => Place;
  readonly status: () => AnalysisPart;
  /** Writes what is remembered of sources; after the last batch. */
  readonly close: () => Promise<void>;
}

/** For `weir status`: the counters, and what does not work. */
export interface AnalysisPart {
  readonly analysis: AnalysisStatus;
  readonly reasons: readonly string[];
}

/** Tables and rules load while the recorder starts; the first batch waits for them. Never throws. */
export function openAnalysis(options: AnalysisOptions): RecorderAnalysis {
  const { store, log } = options;
  let loaded: Loaded | undefined;
  const loading = loadAnalysis(options).then((parts) => {
    loaded = parts;
    return parts;
  });
  const analyser = new Analyser({ store, log, parts: loading });
  return {
    analyser,
    placeOf: (ip) => loaded?.places.of(ip) ?? { ip },
    status: () => ({
      analysis: analyser.status(),
      reasons: [...(loaded?.places.problems ?? []), ...(loaded?.problems ?? [])].map((problem) => `analysis: ${problem}`),
    }),
    close: () => loading.then(({ memory }) => memory.close()).catch(() => {}),
  };
}

export interface Loaded extends AnalysisParts {
  /** Without the memory of `signatures`. */
  readonly rules: SignatureSet;
  readonly places: Places;
  readonly memory: BehaviourMemory;
  readonly problems: readonly string[];
}

function readScanners(file: string, log: Log): { readonly scanners?: KnownScanners; readonly problem?: string } {
  try {
    return { scanners: KnownScanners.read(file) };
  } catch (error) {
    const problem = `behaviour is not judged: ${asWeirError(error).message}`;
    log.error(problem);
    return { problem };
  }
}

/** Below the installation; the build writes it (pack-rules.ts). */
export const packedRulesFile = 'dist/packed/signatures.json';

/** Most mistakes in rule files that are shown. */
const maxProblems = 8;

/** Rules with a mistake are said and left out; the others hold. */
function loadSignatures(
  files: readonly string[],
  packed: string,
  log: Log,
): { readonly set: SignatureSet; readonly problems: readonly string[] } {
  const read = readRuleFiles(files);
  const { set, mistakes } = SignatureSet.load(read.files, readPackedRules(packed));
  const problems = [...read.mistakes, ...mistakes].map(
    ({ file, line, mistake, next }) => `${file}${line ? `:${line}` : ''}: ${mistake}${next ? `; ${next}` : ''}`,
  );
  for (const problem of problems.slice(0, maxProblems)) log.warn('a signature is left out', { problem });
  const rest = problems.length - maxProblems;
  log.info('signatures loaded', { rules: set.size, mistakes: problems.length });
  return {
    set,
    problems: [
      ...problems.slice(0, maxProblems),
      ...(rest > 0 ? [`${rest} more mistakes in rules: \`weir rules check FILE\` names them`] : []),
    ],
  };
}

/** The parts as the recorder has them. */
export async function loadAnalysis({
  settings,
  data,
  packageRoot,
  log,
  clock = systemClock,
}: Omit<AnalysisOptions, 'store'>): Promise<Loaded> {
  const places = await Places.open({ ...settings.geo, cacheDirectory: join(data, 'analysis'), log });
  const signatures = loadSignatures(
    [join(packageRoot, 'rules/signatures'), ...settings.rules],
    join(packageRoot, packedRulesFile),
    log,
  );
  const memory = await BehaviourMemory.open(join(data, 'analysis/behaviour.jsonl'), log);
  const { scanners, problem } = readScanners(join(packageRoot, 'rules/scanners.yaml'), log);
  const remembered = new RememberedMatches((view) => signatures.set.match(view), signatures.set.ports);
  return {
    places,
    rules: signatures.set,
    extractFacts,
    signatures: {
      match: (view) => remembered.match(view),
      size: signatures.set.size,
      curtailed: () => signatures.set.counts().curtailed,
    },
    createFamilies: (known) => new FamilyIndex(known),
    ...(scanners && {
      createBehaviours: () => {
        const tracker = new BehaviourTracker({ thresholds: settings.behaviour, scanners, clock });
        memory.attend(tracker);
        return tracker;
      },
    }),
    memory,
    problems: [...signatures.problems, ...(problem === undefined ? [] : [problem])],
  };
}
