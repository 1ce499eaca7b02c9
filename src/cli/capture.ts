// `weir capture EXPR`: packets of the wire, of a session or of a file, through a linted expression; bounded, with an account of what was not
// seen. The work is netops/capture; here are options, words and exit codes.

import { renderMicros } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { parseDuration, parseSize } from '../config/forms.ts';
import type { FilterProgram } from '../kernel/capture/filter-program.ts';
import { parseAddress, renderAddress } from '../model/address.ts';
import { explainFilter } from '../netops/capture/explain-filter.ts';
import { type FilterRemark, lintFilter } from '../netops/capture/lint-filter.ts';
import { defaultLimits } from '../netops/capture/live-capture.ts';
import type { CaptureOutcome, CaptureScreen, CaptureWish } from '../netops/capture/run-capture.ts';
import type { SeenCredential } from '../netops/credentials/credential-finder.ts';
import type { SessionDocument, StoredSessionDocument } from '../record/documents.ts';
import { renderSessionCapture } from '../record/session-capture.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';
import { type Verb, verbCommand } from './verb.ts';
import { plural, renderEndpoint } from './wording.ts';

interface Options extends CommonOptions {
  readonly if?: string;
  readonly netns?: string;
  readonly session?: string;
  readonly decoy?: string;
  readonly write?: string;
  readonly read?: string;
  readonly ring?: string;
  readonly for?: string;
  readonly packets?: string;
  readonly size?: string;
  readonly snap?: string;
  readonly promiscuous: boolean;
  readonly processes?: boolean;
  readonly credentials?: boolean;
  readonly reveal?: boolean;
  readonly explain?: boolean;
}

export const captureVerb: Verb = (run) =>
  verbCommand('capture', 'packets that match an expression, live or of a file; says what it could not see', [
    'weir capture port 80 --if eth0 --for 30s -w web.pcapng',
    'weir capture --session 0190c2a4-7e55-7000-8000-000000000001 -w session.pcapng',
    'weir capture host 10.0.0.1 -r big.pcap -w one.pcapng',
    'weir capture -w all.pcapng --ring 10x50MiB --for 1d',
    "weir capture 'tcp[13] & 2 != 0' --explain",
    'weir capture --credentials --if any --for 5m',
  ])
    .argument('[expression...]', 'as pcap-filter(7) has it; none: every packet')
    .option('--if <names>', 'interfaces, with commas; any: all of the namespace (default)')
    .option('--netns <name>', 'in this network namespace: a name of `ip netns`, a path, an inode or pid:123')
    .option('--session <id>', 'a recorded session; one that still runs is listened to')
    .option('--decoy <address>', 'what a decoy is asked and answers')
    .option('-w, --write <file>', 'keep packets in this file (pcapng, readable by its owner alone)')
    .option('-r, --read <file>', 'of a file (pcap or pcapng) instead of the wire; - is standard input')
    .option('--ring <shape>', 'with -w: so many files of such a size, the oldest goes: 10x50MiB')
    .option('--for <time>', 'at most so long (default: 60s)')
    .option('--packets <count>', 'at most so many packets (default: 100000)')
    .option('--size <size>', 'at most so many bytes of packets (default: 100MiB)')
    .option('--snap <bytes>', 'of each packet only the first bytes')
    .option('--no-promiscuous', 'only what is meant for this machine')
    .option('--processes', 'say which process of this machine a flow belongs to')
    .option('--credentials', 'tell the passwords that pass in the clear, hidden')
    .option('--reveal', 'with --credentials: not hidden')
    .option('--explain', 'what the expression means, and what it does not see; captures nothing')
    .action((words: string[], options: Options) => run(options, (context) => capture(context, words.join(' ').trim(), options)));

/** Lines that may wait for a slow reader; beyond it lines are left out and counted. */
const maxWaiting = 20_000;

const wrong = (message: string, next: string): WeirError => new WeirError('bad-request', message, { next });

function countOf(text: string | undefined, what: string, otherwise: number): number {
  if (text === undefined) return otherwise;
  if (!/^[1-9]\d{0,11}$/.test(text))
    throw wrong(`${what}: '${printable(text, 40)}' is not a whole number above 0`, `write ${what} 1000`);
  return Number(text);
}

function sizeOf(text: string | undefined, what: string, otherwise: number): number {
  if (text === undefined) return otherwise;
  const bytes = /^\d+$/.test(text) ? Number(text) : parseSize(text);
  if (bytes === undefined || bytes < 1) throw wrong(`${what}: '${printable(text, 40)}' is not a size`, `write ${what} 50MiB`);
  return bytes;
}

function timeOf(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const ms = parseDuration(text);
  if (ms === undefined || ms < 10 || ms > 2_147_483_647)
    throw wrong(`--for: '${printable(text, 40)}' is not a time up to 24d`, 'write --for 30s');
  return ms;
}

function ringOf(options: Options): CaptureWish['ring'] {
  if (options.ring === undefined) return undefined;
  const match = /^(\d{1,4})x(.+)$/.exec(options.ring);
  const bytes = match ? parseSize(match[2]) : undefined;
  if (!match || bytes === undefined || bytes < 4096 || Number(match[1]) < 1)
    throw wrong(
      `--ring: '${printable(options.ring, 40)}' is not files and their size`,
      'write --ring 10x50MiB, at least 4KiB each',
    );
  if (options.write === undefined)
    throw wrong('--ring is of files: name them with -w', 'weir capture -w all.pcapng --ring 10x50MiB');
  return { files: Number(match[1]), bytes };
}

/** `ofFile`: not of the wire. */
function wishOf(context: CommandContext, expression: string, options: Options, ofFile: boolean): CaptureWish {
  const ring = ringOf(options);
  const interfaces = options.if === undefined || options.if === 'any' ? [] : options.if.split(',');
  // A ring bounds itself in size: then time alone ends it. A file ends by itself.
  const most = ring || ofFile ? Number.MAX_SAFE_INTEGER : undefined;
  return {
    expression,
    interfaces,
    ...(options.netns === undefined ? {} : { netns: options.netns }),
    limits: {
      durationMs: timeOf(options.for, defaultLimits.durationMs),
      packets: countOf(options.packets, '--packets', most ?? defaultLimits.packets),
      bytes: sizeOf(options.size, '--size', most ?? defaultLimits.bytes),
    },
    promiscuous: options.promiscuous,
    ...(options.snap === undefined ? {} : { snap: countOf(options.snap, '--snap', 0) }),
    ...(options.write === undefined ? {} : { file: options.write }),
    ...(ring === undefined ? {} : { ring }),
    credentials: options.credentials === true,
    processes: options.processes === true,
    application: `weir ${context.environment.version}`,
  };
}

/** Also inside a VLAN. */
const alsoTagged = (expression: string): string => `(${expression}) or (vlan and (${expression}))`;
const both = (one: string, other: string): string => (other === '' ? one : `(${one}) and (${other})`);

async function capture(context: CommandContext, typed: string, options: Options): Promise<number> {
  const chosen = [options.session, options.decoy, options.read].filter((one) => one !== undefined);
  if (chosen.length > 1) throw wrong('--session, --decoy and --read are three different things', 'choose one of them');
  const live = (['for', 'if', 'netns'] as const).find((name) => options[name] !== undefined);
  if (options.read !== undefined && live !== undefined)
    throw wrong(`--${live} is of the wire, not of a file`, 'leave it out, or leave out -r');
  if (options.reveal && !options.credentials) throw wrong('--reveal is of --credentials', 'weir capture --credentials --reveal');
  const remarks = lintFilter(typed, { any: options.if === 'any' });
  if (options.explain) return explain(context, typed, remarks);
  let expression = typed;
  let stored: StoredSessionDocument | undefined;
  if (options.decoy !== undefined) {
    const address = parseAddress(options.decoy);
    if (!address) throw wrong(`--decoy: '${printable(options.decoy, 60)}' is not an address`, '`weir decoys` lists them');
    expression = alsoTagged(both(`host ${renderAddress(address)}`, typed));
  }
  if (options.session !== undefined) {
    const id = options.session;
    stored = await context.read((reader) => reader.session(id));
    if (!stored)
      throw new WeirError('not-found', `no session ${printable(id, 60)} is recorded`, { next: '`weir sessions` lists them' });
    if (stored.session.event.end === undefined) {
      expression = alsoTagged(both(expressionOf(stored.session), typed));
      stored = undefined;
    }
  }
  const wish = wishOf(context, expression, options, options.read !== undefined || stored !== undefined);
  const screen = new Screen(context, options.reveal === true);
  for (const { what, instead } of remarks) await context.note(`${what}\n  instead: ${instead}`);
  const { actions, signal } = context.environment;
  const { packets } = actions;
  const outcome = stored
    ? await packets.filterFile(wish, renderSessionCapture(stored).bytes, screen, [commentOf(stored.session)], signal)
    : options.read === undefined
      ? // Only for a file: what is told on a screen is over before a session is.
        await packets.capture(wish, screen, signal, wish.file === undefined ? undefined : await context.recorderSocket())
      : await packets.filterFile(wish, options.read, screen, [], signal);
  await screen.drained();
  await summarise(context, wish, outcome, remarks, screen);
  return 0;
}

function expressionOf({ source, destination, network }: SessionDocument): string {
  const transport = network.transport === 'udp' ? 'udp' : 'tcp';
  return `${transport} and host ${source.ip} and port ${source.port} and host ${destination.ip} and port ${destination.port}`;
}

const commentOf = ({ event, source, destination, weir }: SessionDocument): string =>
  `weir session ${event.id}: from ${renderEndpoint(source.ip, source.port)} to ${renderEndpoint(destination.ip, destination.port)}, answered by ${weir.service}; rebuilt from what was recorded, inside TLS the plain text`;

class Screen implements CaptureScreen {
  readonly #context: CommandContext;
  readonly #reveal: boolean;
  readonly #waiting = new Set<Promise<void>>();
  /** Lines nobody read in time. */
  leftOut = 0;

  constructor(context: CommandContext, reveal: boolean) {
    this.#context = context;
    this.#reveal = reveal;
  }

  listening(interfaces: readonly string[], filters: readonly FilterProgram[]): void {
    const long = filters.reduce((sum, { instructions }) => sum + instructions.length, 0);
    void this.#context.note(`listening on ${interfaces.join(', ')} (a filter of ${plural(long, 'instruction')})`);
  }

  packet({ at, interface: name, outgoing, wireLength, text, comments }: Parameters<CaptureScreen['packet']>[0]): void {
    if (this.#context.json) {
      const direction = outgoing === undefined ? {} : { direction: outgoing ? 'out' : 'in' };
      this.#line(
        JSON.stringify({ '@timestamp': renderMicros(at), interface: name, ...direction, length: wireLength, text, comments }),
      );
      return;
    }
    const where = name === undefined ? '' : ` ${printable(name, 20)} ${outgoing ? '>' : '<'}`;
    const remarks = comments.length > 0 ? `  {${comments.join('; ')}}` : '';
    this.#line(`${renderMicros(at).slice(11, 26)}${where} ${text}${remarks}`);
  }

  credential(one: SeenCredential): void {
    const { at, protocol, kind, user, secret, context, source, sourcePort, destination, destinationPort } = one;
    const shown = this.#reveal ? secret : undefined;
    if (this.#context.json) {
      this.#line(
        JSON.stringify({
          '@timestamp': renderMicros(at),
          protocol,
          kind,
          user,
          ...(shown === undefined ? { secret_length: secret?.length } : { secret: shown }),
          context,
          source: { ip: source, port: sourcePort },
          destination: { ip: destination, port: destinationPort },
        }),
      );
      return;
    }
    const hidden = `(${plural(secret?.length ?? 0, 'character')})`;
    this.#line(
      `${renderMicros(at).slice(11, 23)} ${renderEndpoint(source, sourcePort)} > ${renderEndpoint(destination, destinationPort)} ${protocol} ${kind}` +
        `${user === undefined ? '' : ` user ${printable(user, 80)}`} ${kind === 'digest' ? 'proof' : 'secret'} ${shown === undefined ? hidden : printable(shown, 200)}` +
        `${context === undefined ? '' : `  ${printable(context, 100)}`}`,
    );
  }

  async drained(): Promise<void> {
    await Promise.all(this.#waiting);
  }

  #line(text: string): void {
    const { stdout } = this.#context.environment;
    if (stdout.closed) return;
    if (this.#waiting.size >= maxWaiting) {
      this.leftOut += 1;
      return;
    }
    const writing = stdout.write(`${text}\n`).then(() => void this.#waiting.delete(writing));
    this.#waiting.add(writing);
  }
}

const endings = {
  packets: 'as many packets as asked for',
  time: 'the time was over',
  size: 'as many bytes as asked for',
  stopped: 'stopped',
  'interface-gone': 'the interface went away',
} as const;

async function summarise(
  context: CommandContext,
  wish: CaptureWish,
  outcome: CaptureOutcome,
  remarks: readonly FilterRemark[],
  { leftOut }: Screen,
): Promise<void> {
  const { account, files, overwritten, bad, complete, filters, notMeasured } = outcome;
  const dropped = account?.interfaces.reduce((sum, one) => sum + one.dropped, 0) ?? 0;
  if (context.json) {
    const { filters: _, ...facts } = account ?? { filters };
    await context.printJson({
      summary: {
        expression: wish.expression,
        packets: outcome.packets,
        matched: outcome.matched,
        ...(wish.credentials ? { credentials: outcome.credentials } : {}),
        dropped,
        ...facts,
        complete,
        not_measured: notMeasured,
        files,
        overwritten,
        lines_left_out: leftOut,
        ...(bad === undefined ? {} : { bad }),
        ...(outcome.ended === undefined ? {} : { ended: outcome.ended }),
        filters: filters.map(({ linkType, hash, instructions }) => ({
          link_type: linkType,
          hash,
          instructions: instructions.length,
        })),
        remarks,
      },
    });
    return;
  }
  const found = wish.credentials ? plural(outcome.credentials, 'credential') : plural(outcome.matched, 'packet');
  const of = account
    ? ` in ${account.seconds.toFixed(1)} s (${endings[account.ended]})`
    : ` of ${plural(outcome.packets, 'packet')}${outcome.ended === undefined ? '' : ` (${endings[outcome.ended]}; the rest was not read)`}`;
  await context.note(`${found}${of}${files.length > 0 ? `, in ${files.join(', ')}` : ''}`);
  if (overwritten > 0) await context.note(`${plural(overwritten, 'packet')} went with the files the ring removed`);
  if (leftOut > 0) await context.note(`${plural(leftOut, 'line')} were not shown: nobody read them in time`);
  if (account && account.down.length > 0)
    await context.note(`down at some time, when nothing passed: ${account.down.map((name) => printable(name, 20)).join(', ')}`);
  for (const { interface: name, why } of account?.left ?? []) await context.note(`not listened on: ${name}: ${why}`);
  for (const what of notMeasured) await context.note(`not measured: ${printable(what, 400)}`);
  for (const [reason, count] of Object.entries(bad ?? {}))
    await context.note(`${plural(count, 'packet')} not judged: ${printable(reason)}`);
  if (dropped > 0)
    await context.note(`the kernel had no room for ${plural(dropped, 'packet')}: that something was not seen proves nothing`);
  else if (outcome.matched === 0)
    await context.note(
      complete ? 'nothing was lost: no such packet came by' : 'not everything was seen: that nothing was found proves nothing',
    );
}

async function explain(context: CommandContext, expression: string, remarks: readonly FilterRemark[]): Promise<number> {
  const program = await context.environment.actions.packets.compile(expression);
  const lines = explainFilter(program);
  if (context.json)
    await context.printJson({
      expression,
      link_type: program.linkType,
      hash: program.hash,
      instructions: program.instructions,
      words: lines.map((line) => line.trim()),
      remarks,
    });
  else {
    await context.print(`${expression === '' ? 'every packet' : expression}`);
    await context.print(`${plural(program.instructions.length, 'instruction')} for Ethernet, sha256 ${program.hash}`);
    await context.print(lines.join('\n'));
    for (const { what, instead } of remarks) await context.print(`\n${what}\n  instead: ${instead}`);
  }
  return 0;
}
