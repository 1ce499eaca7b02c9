// `weir decoys [ADDRESS|CIDR]`: who lives there: persona, MAC, ports, service, last touch. Computed from the
// configuration (decoy-rows.ts); what is diverted right now is `weir status`.

import { type Micros, parseMicros } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { type AddressRange, parseRange, rangeSize, renderRange } from '../model/address.ts';
import type { Configuration } from '../model/configuration.ts';
import type { Decoy } from '../model/decoy.ts';
import { hostName } from '../model/host-name.ts';
import { hasPort, renderPorts } from '../model/port-set.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';
import { builtInService, findLiving, type LivingDecoy, networkNamer } from './decoy-rows.ts';
import type { Column } from './table.ts';
import { type Verb, verbCommand } from './verb.ts';
import { plural, renderAgo, renderCount } from './wording.ts';

interface Options extends CommonOptions {
  readonly limit?: string;
  readonly diversion?: string;
}

const defaultShown = 50;
/** More ranges make a filter longer than what it spares. */
const maxFilterRanges = 64;

interface Row extends LivingDecoy {
  readonly touched?: Micros;
}

const touchKey = (network: string, ip: string): string => `${network} ${ip}`;

/** Newest touch by network and address; empty when nothing can be read, for the list is useful without. */
async function lastTouches(
  context: CommandContext,
  configuration: Configuration,
  ranges: readonly AddressRange[],
  diversion: string | undefined,
): Promise<Map<string, Micros>> {
  const touches = new Map<string, Micros>();
  const networkOf = networkNamer(configuration);
  const destination = [...new Set(ranges.map(renderRange))].slice(0, maxFilterRanges).join(',');
  const filter = { destination, limit: '10000', ...(diversion === undefined ? {} : { diversion }) };
  const note = (name: string, ip: string, at: string): void => {
    const time = parseMicros(at);
    const key = touchKey(networkOf(name), ip);
    if (time > (touches.get(key) ?? 0)) touches.set(key, time);
  };
  try {
    await context.read(async (reader) => {
      for (const session of (await reader.sessions(filter)).items)
        note(session.weir.diversion, session.destination.ip, session['@timestamp']);
      for (const probe of (await reader.probes({ ...filter, limit: '1000' })).items)
        for (const target of probe.weir.probe.targets) note(probe.weir.diversion, target.ip, probe['@timestamp']);
    });
  } catch (error) {
    if (!(error instanceof WeirError) || error.code !== 'not-running') throw error;
  }
  return touches;
}

const portsOf = ({ persona }: Decoy): string => {
  const tcp = renderPorts(persona.tcp.open);
  const all = hasPort(persona.tcp.open, 1) && persona.tcp.open.length === 1 && persona.tcp.open[0].last === 65_535;
  const udp = renderPorts(persona.udp.open);
  const udpAll = persona.udp.open.length === 1 && persona.udp.open[0].first === 1 && persona.udp.open[0].last === 65_535;
  return `${all ? 'all tcp' : tcp || 'no tcp'}${udp ? ` · ${udpAll ? 'all udp' : `udp ${udp}`}` : ''}`;
};

async function show(context: CommandContext, wantedText: string | undefined, options: Options): Promise<number> {
  const limit = options.limit === undefined ? defaultShown : Number(options.limit);
  if (!(Number.isInteger(limit) && limit >= 1 && limit <= 10_000))
    throw new WeirError('bad-request', `--limit: '${printable(String(options.limit), 40)}' is not a number from 1 to 10000`);
  const wanted = wantedText === undefined ? undefined : parseRange(wantedText);
  if (wantedText !== undefined && !wanted)
    throw new WeirError('bad-request', `'${printable(wantedText, 80)}' is not an address, a CIDR block or a range`);
  const configuration = await context.configuration();
  const { diversion } = options;
  if (diversion !== undefined && !configuration.diversions.some(({ name }) => name === diversion))
    throw new WeirError('bad-request', `there is no diversion '${printable(diversion, 80)}'`, {
      next: `the configuration has ${
        configuration.diversions
          .slice(0, 20)
          .map(({ name }) => name)
          .join(', ') || 'none'
      }`,
    });
  const { decoys, ranges, complete } = findLiving(configuration, {
    ...(wanted ? { wanted } : {}),
    ...(diversion === undefined ? {} : { diversion }),
    limit,
  });
  const touches = decoys.length === 0 ? new Map<string, Micros>() : await lastTouches(context, configuration, ranges, diversion);
  const rows: Row[] = decoys.map((decoy) => {
    const touched = touches.get(touchKey(decoy.network, decoy.ip));
    return touched === undefined ? decoy : { ...decoy, touched };
  });
  if (context.json) {
    await context.printJsonLines(
      rows.map(({ ip, network, attachment, diversion: name, persona, mac, claim, service, touched }) => ({
        ip,
        diversion: name,
        ...(network === '' ? {} : { network, attachment }),
        persona: persona.name,
        ...(service === builtInService ? { name: hostName(persona, ip) } : {}),
        ...(persona.stack && service === builtInService ? { stack: persona.stack.name } : {}),
        service,
        ...(mac ? { mac } : {}),
        ...(claim ? { claim } : {}),
        // A service on the kernel path has the ports it has.
        ...(service === builtInService
          ? { ports: { tcp: renderPorts(persona.tcp.open), udp: renderPorts(persona.udp.open) } }
          : {}),
        ...(touched === undefined ? {} : { last_touch: new Date(touched / 1000).toISOString() }),
      })),
    );
    return 0;
  }
  if (rows.length === 0) {
    await context.print(
      wantedText === undefined
        ? 'no decoys are configured: see diversions in docs/configuration.md'
        : ranges.length === 0
          ? `no decoy is configured at ${printable(wantedText, 80)}`
          : `${printable(wantedText, 80)} lies in a range of decoys, and nobody lives there: the address is dead by its population`,
    );
    return 0;
  }
  const { style, now } = context;
  const columns: Column<Row>[] = [
    { title: 'DECOY', text: ({ ip }) => ip, paint: style.cyan },
    // A service on the kernel path has the name it has.
    {
      title: 'NAME',
      text: ({ ip, persona, service }) => (service === builtInService ? printable(hostName(persona, ip), 63) : '-'),
    },
    { title: 'PERSONA', text: ({ persona }) => printable(persona.name, 40), paint: style.bold },
    { title: 'SYSTEM', text: ({ persona }) => printable(persona.operatingSystem, 40) },
    ...(rows.some(({ persona }) => persona.stack)
      ? [
          {
            title: 'STACK',
            text: ({ persona, service }: Row) => printable((service === builtInService && persona.stack?.name) || '-', 40),
          },
        ]
      : []),
    { title: 'MAC', text: ({ mac }) => mac ?? "the interface's" },
    { title: 'DIVERSION', text: ({ diversion: name }) => name },
    ...(rows.some(({ attachment }) => attachment)
      ? [{ title: 'NETWORK', text: ({ attachment }: Row) => (attachment ? printable(attachment, 60) : "this machine's") }]
      : []),
    {
      title: 'SERVICE',
      text: ({ service }) => printable(service, 40),
      paint: (text, { service }) => (service === builtInService ? text : style.yellow(text)),
    },
    {
      title: 'TOUCHED',
      align: 'right',
      text: ({ touched }) =>
        touched === undefined ? '-' : `${renderAgo(touched, now)}${renderAgo(touched, now) === 'now' ? '' : ' ago'}`,
    },
    { title: 'OPEN PORTS', text: (row) => (row.service === builtInService ? portsOf(row) : "the service's own"), flexible: true },
  ];
  await context.printTable(columns, rows);
  const addresses = ranges.reduce((sum, range) => sum + rangeSize(range), 0n);
  await context.note(
    complete
      ? `${plural(rows.length, 'living decoy')} in ${plural(addresses.toString(), 'address', 'addresses')}`
      : `the first ${renderCount(rows.length)} living decoys of ${plural(addresses.toString(), 'address', 'addresses')}: name an address or a block, or raise --limit`,
  );
  return 0;
}

export const decoysVerb: Verb = (run) =>
  verbCommand('decoys', 'who lives where: persona, MAC, ports, last touch', [
    'weir decoys',
    'weir decoys 10.66.3.0/24',
    'weir decoys 10.66.3.4 --json',
    'weir decoys --diversion floor-3',
  ])
    .argument('[address]', 'address, CIDR block or range')
    .option('--diversion <name>', 'only the decoys of this diversion')
    .option('--limit <rows>', `at most so many (default ${defaultShown})`)
    .action((wanted: string | undefined, options: Options) => run(options, (context) => show(context, wanted, options)));
