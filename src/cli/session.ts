// `weir session ID`: one session in full, both directions with times; its bytes as text, hex, raw or a capture.

import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { Option } from 'commander';
import { parseMicros } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { identifierTime } from '../model/identifier.ts';
import type { ChunkDocument, SessionDocument, StoredSessionDocument } from '../record/documents.ts';
import { renderSessionCapture } from '../record/session-capture.ts';
import { paintSeverity, placeText } from './attacker-rows.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';
import { renderHexDump, renderTextLines } from './hex-dump.ts';
import { type Verb, verbCommand } from './verb.ts';
import { explainOutcome, plural, renderAgo, renderBytes, renderDuration, renderEndpoint, renderInstant } from './wording.ts';

interface Options extends CommonOptions {
  readonly payload?: 'text' | 'hex' | 'raw';
  readonly direction?: 'in' | 'out' | 'both';
  readonly pcap?: string;
}

const bytesOf = (chunk: ChunkDocument): Uint8Array => Buffer.from(chunk.bytes, 'base64');

function facts(session: SessionDocument, context: CommandContext): [string, string][] {
  const { weir, source, destination, network, event, tls } = session;
  const start = parseMicros(event.start);
  const system = weir.syn?.system ? `${printable(weir.syn.system, 60)} (a guess from its SYN)` : undefined;
  const rows: [string, string | undefined][] = [
    [
      'source',
      `${renderEndpoint(source.ip, source.port)}${weir.session.source_reliable ? '' : '  not proven: the address may be forged'}`,
    ],
    ['place', placeText(source)],
    ['source MAC', source.mac],
    ['decoy', `${renderEndpoint(destination.ip, destination.port)}/${network.transport}`],
    [
      'through',
      `diversion ${printable(weir.diversion)}, service ${printable(weir.service)}${weir.persona ? `, persona ${printable(weir.persona)}` : ''}`,
    ],
    [
      'began',
      `${renderInstant(start)}, ${renderAgo(start, context.now)}${renderAgo(start, context.now) === 'now' ? '' : ' ago'}`,
    ],
    ['lasted', event.duration === undefined ? undefined : renderDuration(event.duration / 1000)],
    ['ended', `${weir.session.outcome}: ${explainOutcome(weir.session.outcome)}`],
    ['relayed', weir.relay && relayTimes(weir.relay)],
    ['protocol', network.protocol && printable(network.protocol, 40)],
    [
      'TLS',
      tls &&
        [tls.version && printable(tls.version, 20), tls.client.server_name && `for ${printable(tls.client.server_name, 253)}`]
          .filter(Boolean)
          .join(' '),
    ],
    ['JA4', tls && printable(tls.client.ja4, 60)],
    ['JA3', tls && printable(tls.client.ja3, 60)],
    ['user', session.user && printable(session.user.name, 200)],
    ['password', weir.password === undefined ? undefined : printable(weir.password, 200)],
    ['system', system],
    ['SYN', weir.syn && `ttl ${weir.syn.ttl}, window ${weir.syn.window}, options ${printable(weir.syn.options || 'none', 80)}`],
    ['tags', weir.tags?.map((tag) => printable(tag, 60)).join(', ')],
    [
      'bytes',
      `${renderBytes(source.bytes)} in, ${renderBytes(destination.bytes)} out${weir.payload.truncated ? ', recorded in part: the limit per session was reached' : ''}`,
    ],
    ['sha256', weir.payload.sha256],
    ['family', weir.payload.family],
    ['techniques', session.threat?.technique.id.map((id) => printable(id, 20)).join(', ')],
    ['CVE', session.vulnerability?.id.map((id) => printable(id, 30)).join(', ')],
  ];
  return rows.filter((row): row is [string, string] => row[1] !== undefined && row[1] !== '');
}

/** Rules it matched with what they captured, facts, and the verdicts it is part of. */
function findings({ session, verdicts = [] }: StoredSessionDocument, context: CommandContext): string[] {
  const { style } = context;
  const lines: string[] = [];
  const section = (title: string, body: readonly string[]): void => {
    if (body.length > 0) lines.push('', style.bold(title), ...body.map((line) => `  ${line}`));
  };
  section(
    'Signatures',
    (session.weir.signatures ?? []).flatMap(({ id, name, severity, captures = {} }) => [
      `${paintSeverity(style, severity)(severity.padEnd(6))}  ${style.bold(printable(id, 80))}  ${printable(name, 120)}`,
      ...Object.entries(captures).map(([key, value]) => `        ${style.dim(printable(key, 20))} ${printable(value, 500)}`),
    ]),
  );
  section(
    'Facts',
    (session.weir.facts ?? []).map(({ kind, value }) => `${style.dim(printable(kind, 12).padEnd(12))}  ${printable(value, 500)}`),
  );
  section(
    'Part of',
    verdicts.map(({ weir }) => {
      const { severity, behaviour, evidence } = weir.verdict;
      return `${paintSeverity(style, severity)(severity.padEnd(6))}  ${style.bold(behaviour)}  ${printable(evidence[0] ?? '', 300)}`;
    }),
  );
  return lines;
}

const relayTimes = ({ connect, first_byte: first }: NonNullable<SessionDocument['weir']['relay']>): string =>
  `service accepted after ${renderDuration(connect / 1000)}${first === undefined ? ', said nothing' : `, first byte ${renderDuration(first / 1000)} later`}`;

function conversation(stored: StoredSessionDocument, how: 'text' | 'hex', context: CommandContext): string[] {
  const { style } = context;
  const start = parseMicros(stored.session.event.start);
  const offsets = { in: 0, out: 0 };
  const lines: string[] = [];
  for (const chunk of stored.chunks) {
    const bytes = bytesOf(chunk);
    const inward = chunk.direction === 'in';
    const paint = inward ? style.cyan : style.green;
    const title = inward ? '→ from the attacker' : '← from the decoy';
    lines.push(
      '',
      paint(`${title}  +${renderDuration(Math.max(0, parseMicros(chunk.at) - start))}  ${renderBytes(bytes.length)}`),
    );
    const body = how === 'hex' ? renderHexDump(bytes, offsets[chunk.direction]) : renderTextLines(bytes);
    offsets[chunk.direction] += bytes.length;
    lines.push(...body.map((line) => `  ${line}`));
  }
  return lines;
}

async function newestId(context: CommandContext): Promise<string> {
  const page = await context.read((reader) => reader.sessions({ limit: '1' }));
  if (page.items.length === 0) throw new WeirError('not-found', 'no session is recorded yet');
  return page.items[0].weir.session.id;
}

async function show(context: CommandContext, given: string, options: Options): Promise<number> {
  if (given !== 'last' && Number.isNaN(identifierTime(given)))
    throw new WeirError('bad-request', `'${printable(given, 40)}' is not a session's identifier`, {
      next: '`weir sessions` lists them; `weir session last` is the newest',
    });
  const id = given === 'last' ? await newestId(context) : given;
  const stored = await context.read((reader) => reader.session(id));
  if (!stored)
    throw new WeirError('not-found', `there is no session ${id}`, {
      next: '`weir sessions` lists them; old ones end with retention',
    });
  if (options.pcap !== undefined) {
    const file = path.resolve(context.environment.cwd, options.pcap);
    const capture = renderSessionCapture(stored);
    writeFileSync(file, capture.bytes, { mode: 0o600 });
    await context.note(
      `${plural(capture.frames, 'frame')} written to ${file}: rebuilt from what was recorded, not captured from the wire`,
    );
    if (!options.payload && !context.json) return 0;
  }
  if (context.json) {
    await context.printJson(stored);
    return 0;
  }
  if (options.payload === 'raw') {
    if (context.environment.stdout.isTerminal)
      throw new WeirError('bad-request', 'raw bytes of an attacker do not go to a terminal: they could take it over', {
        next: `weir session ${id} --payload raw | xxd`,
      });
    for (const chunk of stored.chunks)
      if (options.direction === 'both' || chunk.direction === (options.direction ?? 'in'))
        await context.environment.stdout.write(bytesOf(chunk));
    return 0;
  }
  const only = options.direction === undefined || options.direction === 'both' ? undefined : options.direction;
  const selected = only ? { ...stored, chunks: stored.chunks.filter(({ direction }) => direction === only) } : stored;
  const lines = options.payload
    ? conversation(selected, options.payload, context).slice(1)
    : [
        context.style.bold(`Session ${id}`),
        ...facts(stored.session, context).map(([name, value]) => `  ${context.style.dim(name.padEnd(10))}  ${value}`),
        ...findings(stored, context),
        ...(stored.chunks.length === 0 ? ['', '  no byte was exchanged'] : conversation(selected, 'text', context)),
      ];
  await context.print(lines.join('\n'));
  return 0;
}

export const sessionVerb: Verb = (run) =>
  verbCommand('session', 'one session, both directions, with times; ID `last` is the newest', [
    'weir session last',
    'weir session 01hqzx3k8d2v7m9p4ab --payload hex',
    'weir session last --payload raw | sha256sum',
    'weir session last --pcap one.pcap',
  ])
    .argument('<id>', 'identifier from `weir sessions`, or `last`')
    .addOption(new Option('--payload <form>', 'only the bytes').choices(['text', 'hex', 'raw']))
    .addOption(new Option('--direction <which>', 'from the attacker, from the decoy, or both').choices(['in', 'out', 'both']))
    .option('--pcap <file>', 'write the session as a capture with well-formed frames')
    .action((id: string, options: Options) => run(options, (context) => show(context, id, options)));
