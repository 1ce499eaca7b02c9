// `weir rst`: who sent each RST and why, live or from a capture. The work is netops/resets.

import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { parseDuration } from '../config/forms.ts';
import { defaultLimits } from '../netops/capture/live-capture.ts';
import type { ResetCause } from '../netops/resets/judge-reset.ts';
import { type ResetFinding, renderReset, resetDocument } from '../netops/resets/reset-finding.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';
import { type Verb, verbCommand } from './verb.ts';
import { plural } from './wording.ts';

interface Options extends CommonOptions {
  readonly if?: string;
  readonly netns?: string;
  readonly read?: string;
  readonly for?: string;
}

export const rstVerb: Verb = (run) =>
  verbCommand('rst', 'who sent each RST and why, with the evidence; live or of a capture', [
    'weir rst --for 5m',
    'weir rst host 10.0.0.9 --if eth0',
    'weir rst -r trace.pcapng',
    'weir rst --netns web --json',
  ])
    .argument('[expression...]', 'only of these packets, as pcap-filter(7) has it')
    .option('--if <names>', 'interfaces, with commas; any: all of the namespace (default)')
    .option('--netns <name>', 'in this network namespace: a name of `ip netns`, a path, an inode or pid:123')
    .option('-r, --read <file>', 'of a capture (pcap or pcapng); - is standard input')
    .option('--for <time>', 'at most so long (default: 60s)')
    .action((words: string[], options: Options) => run(options, (context) => rst(context, words.join(' ').trim(), options)));

/** Findings that may wait for a slow reader. */
const maxWaiting = 10_000;

async function rst(context: CommandContext, expression: string, options: Options): Promise<number> {
  const live = (['for', 'if', 'netns'] as const).find((name) => options[name] !== undefined);
  if (options.read !== undefined && live !== undefined)
    throw new WeirError('bad-request', `--${live} is of the wire, not of a file`, { next: 'leave it out, or leave out -r' });
  const durationMs = options.for === undefined ? defaultLimits.durationMs : parseDuration(options.for);
  if (durationMs === undefined || durationMs < 10 || durationMs > 2_147_483_647)
    throw new WeirError('bad-request', `--for: '${printable(options.for ?? '', 40)}' is not a time up to 24d`, {
      next: 'write --for 30s',
    });
  const causes = new Map<ResetCause, number>();
  const { stdout } = context.environment;
  const waiting = new Set<Promise<void>>();
  let leftOut = 0;
  const show = (finding: ResetFinding): void => {
    causes.set(finding.cause, (causes.get(finding.cause) ?? 0) + 1);
    if (waiting.size >= maxWaiting || stdout.closed) {
      leftOut += 1;
      return;
    }
    const [first, ...rest] = renderReset(finding);
    const text = context.json ? JSON.stringify(resetDocument(finding)) : [context.style.bold(first), ...rest].join('\n');
    const writing = stdout.write(`${text}\n`).then(() => void waiting.delete(writing));
    waiting.add(writing);
  };
  const { actions, signal } = context.environment;
  const { packets } = actions;
  const notes: string[] = [];
  if (options.read === undefined) {
    const wish = {
      expression,
      interfaces: options.if === undefined || options.if === 'any' ? [] : options.if.split(','),
      ...(options.netns === undefined ? {} : { netns: options.netns }),
      // Only headers are kept of any packet, and none of them for long: time alone ends it.
      limits: { durationMs, packets: Number.MAX_SAFE_INTEGER, bytes: Number.MAX_SAFE_INTEGER },
      signal,
    };
    const { notMeasured } = await packets.watchResets(
      wish,
      show,
      (interfaces) => void context.note(`watching ${interfaces.join(', ')}`),
    );
    notes.push(...notMeasured.map((what) => `not measured: ${what}`));
  } else {
    const { bad, packets: count } = await packets.readResets(options.read, expression, show, signal);
    notes.push(`${plural(count, 'packet')} read; whether a socket sent a RST cannot be asked of a file`);
    if (signal.aborted) notes.push('stopped: the rest was not read');
    for (const [reason, number] of Object.entries(bad))
      notes.push(`${plural(number, 'packet')} not judged: ${printable(reason)}`);
  }
  await Promise.all(waiting);
  if (leftOut > 0) notes.push(`${plural(leftOut, 'finding')} not shown: nobody read them in time`);
  const total = [...causes.values()].reduce((sum, count) => sum + count, 0);
  const kinds = [...causes].map(([cause, count]) => `${count} ${cause}`).join(', ');
  await context.note(total === 0 ? 'no RST was seen' : `${plural(total, 'finding')}: ${kinds}`);
  for (const note of notes) await context.note(note);
  return 0;
}
