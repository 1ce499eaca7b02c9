// `weir who`: who makes this traffic. Options, words and layout; watching is netops/who. One look where nobody watches the
// screen, else a table that is drawn anew.

import { InvalidArgumentError } from 'commander';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { renderAddress } from '../model/address.ts';
import { type Flow, parseFlowSelector, protocolName, renderFlow } from '../netops/who/flow.ts';
import type { FlowExposure } from '../netops/who/flow-exposure.ts';
import type { PathHop } from '../netops/who/path.ts';
import type { FlowRow, WhoReading } from '../netops/who/traffic-watch.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';
import type { Style } from './style.ts';
import type { Column } from './table.ts';
import { type Verb, verbCommand } from './verb.ts';
import { plural } from './wording.ts';

/** As for every command: what was asked, the packets of a device, could not be measured. */
const cannotMeasure = 3;

interface Options extends CommonOptions {
  readonly if?: string;
  readonly netns?: string;
  readonly top: number;
  readonly flow?: string;
  readonly interval: number;
  readonly once?: boolean;
}

export const whoVerb: Verb = (run) =>
  verbCommand('who', 'who makes this traffic: from the wire to the process, over NAT, namespaces, proxies and tunnels', [
    'weir who',
    'weir who --if eth0 --top 5 --once',
    'weir who --flow "udp 192.0.2.2:1194 198.51.100.7:1194"',
    'weir who --netns all --json',
  ])
    .option('--if <device>', 'the device to count on (default: where the default routes leave)')
    .option(
      '--netns <name>',
      'the network namespace it is in: a name of `ip netns`, a path, an inode or pid:123, or `all` (default: this one)',
    )
    .option('--top <rows>', 'the largest flows, 1 to 1000', wholeNumber(1000), 20)
    .option('--flow <tuple>', 'only this flow, seen anywhere on its way: "tcp 10.0.0.1:80 192.0.2.7", "10.0.0.1", ":443"')
    .option('--interval <seconds>', 'how long is counted, 1 to 60', wholeNumber(60), 2)
    .option('--once', 'one reading and its evidence, also on a terminal')
    .action((options: Options) => run(options, (context) => who(options, context)));

function wholeNumber(most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d{1,4}$/.test(text) || value < 1 || value > most)
      throw new InvalidArgumentError(`It must be a whole number from 1 to ${most}.`);
    return value;
  };
}

async function who(options: Options, context: CommandContext): Promise<number> {
  const { environment } = context;
  const flow = options.flow === undefined ? undefined : parseFlowSelector(options.flow);
  if (options.flow !== undefined && !flow)
    throw new WeirError('bad-request', `--flow ${printable(options.flow, 100)} is no flow`, {
      next: 'write one or both ends: "tcp 10.0.0.1:80 192.0.2.7:5000", "10.0.0.1", ":443"',
    });
  const once = options.once === true || context.json || !environment.stdout.isTerminal;
  let last: WhoReading | undefined;
  await environment.actions.who(
    {
      ...(options.if === undefined ? {} : { device: options.if }),
      ...(options.netns === undefined ? {} : { netns: options.netns }),
      rows: { top: options.top, ...(flow ? { flow } : {}) },
      intervalMs: options.interval * 1000,
    },
    async (reading) => {
      last = reading;
      if (context.json) await context.printJsonLines(describeReading(reading));
      else await showReading(reading, context, once);
      return !once && !environment.stdout.closed;
    },
    context.action,
  );
  if (!last) return 0;
  for (const { what, why } of last.unseen) await context.note(printable(`not seen: ${what}: ${why}`, 400));
  return last.measure === 'wire' ? 0 : cannotMeasure;
}

const share = (part: number, whole: number): string =>
  whole === 0 ? '-' : `${(Math.floor((part / whole) * 1000) / 10).toFixed(1)} %`;

/** `1.2 Gb/s`: powers of 1000. */
export function renderRate(bps: number): string {
  let value = bps;
  for (const unit of ['b/s', 'kb/s', 'Mb/s', 'Gb/s']) {
    if (value < 999.5 || unit === 'Gb/s')
      return `${value < 9.95 && unit !== 'b/s' ? value.toFixed(1) : Math.round(value)} ${unit}`;
    value /= 1000;
  }
  return '';
}

const measures: Readonly<Record<WhoReading['measure'], string>> = {
  wire: 'every packet counted',
  conntrack: 'what connection tracking counts, not every packet',
  sockets: "payload of this namespace's own TCP, not every packet",
};

async function showReading(reading: WhoReading, context: CommandContext, evidence: boolean): Promise<void> {
  const { style } = context;
  const { totals, rows, rest } = reading;
  const where = reading.devices.map(({ device, netnsName }) => (netnsName === '' ? device : `${netnsName} ${device}`)).join(', ');
  const lines = [
    `${style.bold(where === '' ? 'this namespace' : printable(where, 300))}: ${renderRate((totals.bytes * 8) / reading.seconds)} in ${plural(totals.flows, 'flow')}, ` +
      `${measures[reading.measure]} for ${reading.seconds.toFixed(1)} s; ${style.bold(share(totals.attributedBytes, totals.bytes))} of the bytes have an owner`,
  ];
  if (!evidence) await context.environment.stdout.write('\u001b[H\u001b[2J');
  await context.print(lines.join('\n'));
  if (rows.length === 0) await context.print(totals.flows === 0 ? 'Nothing moved.' : 'No such flow moved.');
  else if (!evidence) await context.printTable(columnsOf(style), rows);
  else for (const row of rows) await context.print(describeRow(row, style).join('\n'));
  if (rest.flows > 0) await context.print(style.dim(`and ${plural(rest.flows, 'flow')} more: ${renderRate(rest.bps)}`));
  for (const { reason, flows, bytes } of reading.unattributed.slice(0, 8))
    await context.print(
      style.yellow(
        `no owner: ${renderRate((bytes * 8) / reading.seconds)}${flows > 0 ? ` in ${plural(flows, 'flow')}` : ''}: ${printable(reason, 300)}`,
      ),
    );
}

const columnsOf = (style: Style): Column<FlowRow>[] => [
  { title: 'RATE', align: 'right', text: ({ inBps, outBps }) => renderRate(inBps + outBps), paint: style.bold },
  { title: 'IN', align: 'right', text: ({ inBps }) => renderRate(inBps) },
  { title: 'OUT', align: 'right', text: ({ outBps }) => renderRate(outBps) },
  { title: 'FLOW', text: ({ flow }) => renderFlow(flow), paint: style.cyan },
  {
    title: 'WHO',
    text: (row) => (row.attributed ? renderChain(row.path) : `? ${printable(row.reason ?? '', 300)}`),
    flexible: true,
  },
];

const atPlace = ({ container, netnsName }: PathHop): string => {
  const name = container?.name ?? container?.id.slice(0, 12) ?? netnsName;
  return name === '' ? '' : `@${name}`;
};

/** `openvpn[812]@vpn > tun0 97 % > haproxy[900]@lb :8443 > node[901] :8080`. */
export function renderChain(path: readonly PathHop[]): string {
  const parts: string[] = [];
  for (const hop of path) {
    if (hop.kind === 'process')
      parts.push(
        `${hop.comm ?? 'pid'}[${hop.pid}]${atPlace(hop)}${hop.listens ? ` :${hop.listens}` : ''}${hop.score < 1 ? ` ~${hop.score.toFixed(2)}` : ''}`,
      );
    else if (hop.kind === 'tunnel') parts.push(`${hop.device} ${Math.floor(hop.score * 100)} %`);
    else if (hop.kind === 'proxy') parts.push(`proxied${hop.score < 1 ? ` ~${hop.score.toFixed(2)}` : ''}`);
  }
  return printable(parts.join(' > '), 400);
}

/** The flow, and a line for each hop with its evidence. */
function describeRow(row: FlowRow, style: Style): string[] {
  const rate = renderRate(row.inBps + row.outBps);
  const lines = [
    `${style.bold(rate.padStart(10))}  ${style.cyan(renderFlow(row.flow))}  (in ${renderRate(row.inBps)}, out ${renderRate(row.outBps)})`,
  ];
  for (const hop of row.path.slice(row.path.length > 1 ? 1 : 0)) {
    const place = hop.netnsName === '' && !hop.container ? '' : ` in ${atPlace(hop).slice(1)}`;
    const process = hop.pid === undefined ? '' : ` ${hop.comm ?? ''}[${hop.pid}]${hop.fd === undefined ? '' : ` fd ${hop.fd}`}`;
    const user = hop.uid === undefined || hop.kind !== 'process' ? '' : ` user ${hop.user ?? hop.uid}`;
    const exe = hop.exe === undefined || hop.kind !== 'process' ? '' : ` ${hop.exe}`;
    const port = hop.listens === undefined ? '' : `, serves port ${hop.listens}`;
    const device = hop.device === undefined ? '' : ` ${hop.device}`;
    const what = `${hop.kind}${device}${place}${process}${exe}${user}${port}: ${renderFlow(hop.flow)}`;
    const certainty = hop.score === 1 ? 'certain' : `score ${hop.score.toFixed(2)}`;
    lines.push(`${' '.repeat(12)}${printable(what, 600)}  ${style.dim(printable(`[${hop.join}; ${certainty}]`, 300))}`);
  }
  for (const { port, transport, reach, atWorst, allowedBy, advice } of row.exposure ?? []) {
    const rules = allowedBy.length > 0 ? `, let in by ${allowedBy.join(' | ')}` : '';
    const worst = atWorst === undefined ? '' : ` (at worst ${atWorst})`;
    lines.push(`${' '.repeat(12)}${printable(`exposure: ${transport} ${port} is reached from ${reach}${worst}${rules}`, 400)}`);
    if (advice) lines.push(style.dim(`${' '.repeat(12)}  ${advice}`));
  }
  if (!row.attributed) lines.push(style.yellow(`${' '.repeat(12)}no owner: ${printable(row.reason ?? '', 300)}`));
  return lines;
}

const tupleOf = ({ protocol, a, b }: Flow) => ({
  proto: protocolName(protocol),
  src: renderAddress(a.address),
  sport: a.port,
  dst: renderAddress(b.address),
  dport: b.port,
});

const describeExposure = ({ netnsName, pid, transport, port, reach, atWorst, allowedBy, advice }: FlowExposure) => ({
  netns: netnsName,
  pid,
  proto: transport,
  port,
  reach,
  ...(atWorst === undefined ? {} : { at_worst: atWorst }),
  allowed_by: allowedBy,
  ...(advice === undefined ? {} : { advice }),
});

/** JSON lines: the flows, then one line for each reason why bytes have no owner, then what the whole came to. */
export function describeReading(reading: WhoReading): unknown[] {
  const flows = reading.rows.map((row) => ({
    rate_bps: Math.round(row.inBps + row.outBps),
    in_bps: Math.round(row.inBps),
    out_bps: Math.round(row.outBps),
    flow: { ...tupleOf(row.flow), netns: row.netnsName, ...(row.device === undefined ? {} : { dev: row.device }) },
    attributed: row.attributed,
    ...(row.reason === undefined ? {} : { reason: row.reason }),
    path: row.path.map(
      ({ kind, netns, netnsName, flow, device, pid, comm, exe, uid, user, fd, container, listens, join, score }) => ({
        kind,
        netns: netnsName === '' ? netns : netnsName,
        tuple: tupleOf(flow),
        ...(device === undefined ? {} : { dev: device }),
        ...(pid === undefined ? {} : { pid }),
        ...(comm === undefined ? {} : { comm }),
        ...(exe === undefined ? {} : { exe }),
        ...(uid === undefined ? {} : { uid }),
        ...(user === undefined ? {} : { user }),
        ...(fd === undefined ? {} : { fd }),
        ...(container === undefined ? {} : { container }),
        ...(listens === undefined ? {} : { listens }),
        join,
        score: Math.round(score * 1000) / 1000,
      }),
    ),
    exposure: row.exposure?.map(describeExposure) ?? null,
  }));
  const reasons = reading.unattributed.map(({ reason, flows: count, bytes }) => ({
    rate_bps: Math.round((bytes * 8) / reading.seconds),
    flow: null,
    attributed: false,
    reason,
    flows: count,
    path: [],
    exposure: null,
  }));
  return [
    ...flows,
    ...reasons,
    {
      summary: {
        seconds: Math.round(reading.seconds * 1000) / 1000,
        measure: reading.measure,
        devices: reading.devices.map(({ device, netnsName }) => ({ dev: device, netns: netnsName })),
        flows: reading.totals.flows,
        bytes: reading.totals.bytes,
        attributed_bytes: reading.totals.attributedBytes,
        rest: { flows: reading.rest.flows, rate_bps: Math.round(reading.rest.bps) },
        unseen: reading.unseen,
      },
    },
  ];
}
