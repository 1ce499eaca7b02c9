// `weir bench analysis`: events per second through everything that is made of them on one processor, what each part takes of it,
// and each part against the shortest code that does the same. No namespaces, no network: decoded records in, findings out.

import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { recorderHeapFlags } from '../launch.ts';
import type { AnalysisPass, AnalysisRounds } from './analysis-process.ts';
import type { BenchReport, Say } from './bench.ts';
import { median, spread } from './figures.ts';

const rounds = 5;
const eventsARound = 100_000;
/** What the stream is promised to keep up with. */
const wanted = 100_000;
const program = fileURLToPath(new URL('./analysis-process.js', import.meta.url));
const root = path.resolve(path.dirname(program), '../../../..');

const partNames = ['gathering', 'behaviour', 'signatures', 'places', 'facts', 'families'];
const naive: Readonly<Record<string, readonly [string, string]>> = {
  behaviour: ['naive behaviour', 'sets of ports and decoys for each source, without time or bound'],
  signatures: ['naive signatures', 'twenty exploits in one regular expression of the language'],
  places: ['naive places', 'country alone, by the maxmind package, one look-up for each event'],
};

export async function benchAnalysis(say: Say): Promise<BenchReport> {
  const data = mkdtempSync(path.join(tmpdir(), 'weir-bench-analysis-'));
  try {
    say(`three passes, ${rounds} rounds of ${eventsARound} events each on one processor, after one for the compiler`);
    // One after the other, in processes of their own: none shares caches or memory with another.
    const required = await run('required', data);
    const everything = await run('everything', data);
    const peers = await run('peers', data);
    return report({
      ...everything,
      times: { ...required.times, ...everything.times, ...peers.times },
      found: { ...required.found, ...everything.found, ...peers.found },
    });
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
}

async function run(pass: AnalysisPass, data: string): Promise<AnalysisRounds> {
  const node = [
    process.execPath,
    '--expose-gc',
    ...recorderHeapFlags,
    program,
    ...['--pass', pass, '--data', data, '--root', root, '--rounds', String(rounds), '--events', String(eventsARound)],
  ];
  // Garbage collection and compilation have threads of their own: they share the processor too.
  const [command, ...argv] = existsSync('/usr/bin/taskset') ? ['/usr/bin/taskset', '-c', '0', ...node] : node;
  const { stdout } = await promisify(execFile)(command, argv, { timeout: 300_000, maxBuffer: 1 << 20 });
  return JSON.parse(stdout) as AnalysisRounds;
}

const percent = (part: number, whole: number): number => Math.round((100 * part) / whole);

function report({ counts, rules, times, partMs, found, residentBytes }: AnalysisRounds): BenchReport {
  const rate = (ms: readonly number[]): number[] => ms.map((one) => (eventsARound / one) * 1000);
  const sum = Object.values(partMs).reduce((total, ms) => total + ms, 0);
  // Of the processor time of a round, what the part took of it by the clock.
  const partOf = (name: string): number => (median(times.everything) * (partMs[name] ?? 0)) / sum;
  const line = (name: string): string => {
    const [peer, words] = naive[name] ?? [];
    const against = peer ? `   ${(median(times[peer]) / partOf(name)).toFixed(2)} times ${words}` : '';
    const share = `${((100 * (partMs[name] ?? 0)) / sum).toFixed(0)}%`.padStart(5);
    return `  ${name.padEnd(12)} ${(partOf(name) / (eventsARound / 1000)).toFixed(2).padStart(6)} us an event ${share}${against}`;
  };
  const text = [
    `events per second of processor time, threads that collect garbage and compile included, ${rounds} rounds of ${eventsARound} in batches as the journal gives them, median (spread):`,
    `  (${counts.sessions} sessions, ${percent(counts.silent, counts.sessions)}% silent, payloads up to ${counts.payloadP99} bytes in 99 of 100, ${counts.probes} probe records, ${counts.sources} sources; ${rules} signatures)`,
    `  (${percent(counts.repeated, counts.payloads + counts.logins)}% of what was sent was sent before: requests of scanners, greetings, logins; TLS, RDP, SMB, SIP and droppers differ each time)`,
    `  rollups, behaviour, signatures and places, in one pass: ${spread(rate(times.required))}`,
    `  everything, as the recorder runs it:                    ${spread(rate(times.everything))}, of which`,
    ...partNames.map((name) => `  ${line(name)}`),
    `  signatures, when nothing is ever sent twice:            ${spread(rate(times['signatures, nothing twice']))}`,
    `  memory of the process that has everything: ${Math.round(residentBytes / 2 ** 20)} MB, the maker of these events included`,
  ].join('\n');
  // Facts and families are more than what is promised, and have their own rows.
  const enough = median(rate(times.required)) >= wanted;
  return {
    text: enough ? text : `${text}\n  This is less than the ${wanted} that are promised.`,
    json: {
      rounds,
      events: eventsARound,
      counts,
      rules,
      found,
      eventsPerSecond: Object.fromEntries(Object.entries(times).map(([name, ms]) => [name, median(rate(ms))])),
      required: median(rate(times.required)),
      partMicros: Object.fromEntries(partNames.map((name) => [name, partOf(name) / (eventsARound / 1000)])),
      times,
      residentBytes,
    },
    exitCode: enough ? 0 : 1,
  };
}
