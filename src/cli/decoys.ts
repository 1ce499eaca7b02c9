// `weir decoys [ADDRESS|CIDR]`: who lives there: persona, MAC, ports, service, last touch. Computed from the
// configuration by the arithmetic the kernel uses; what is diverted right now is `weir status`.

import { networkInterfaces } from 'node:os';
import { type Micros, parseMicros } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { type Address, type AddressRange, parseRange, rangeSize, renderAddress, renderRange } from '../model/address.ts';
import type { Configuration } from '../model/configuration.ts';
import { type Decoy, DecoyDirectory, type DecoyGroup } from '../model/decoy.ts';
import { hasPort, renderPorts } from '../model/port-set.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';
import type { Column } from './table.ts';
import { type Verb, verbCommand } from './verb.ts';
import { plural, renderAgo, renderCount } from './wording.ts';

interface Options extends CommonOptions {
  readonly limit?: string;
}

/** How many addresses are looked at for one list: enough for a /16 of which few live. */
const maxLookedAt = 262_144;
const defaultShown = 50;

/** This machine's addresses, for groups of kind `own` whose ranges the configuration leaves to the machine. */
function ownRanges(interfaceName: string | undefined): AddressRange[] {
  const ranges: AddressRange[] = [];
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    if (interfaceName !== undefined && name !== interfaceName) continue;
    for (const { address, internal } of addresses ?? []) {
      const range = internal || address.startsWith('fe80:') ? undefined : parseRange(address);
      if (range) ranges.push(range);
    }
  }
  return ranges;
}

export function groupsOf(configuration: Configuration): DecoyGroup[] {
  return configuration.diversions.flatMap((diversion) =>
    diversion.groups.map((group) =>
      group.kind === 'own' && group.ranges.length === 0
        ? { ...group, ranges: ownRanges(diversion.kind === 'host' ? diversion.interface : undefined) }
        : group,
    ),
  );
}

interface Row extends Decoy {
  readonly touched?: Micros;
}

/** The living decoys of the ranges in order, until `limit` are found or enough addresses were looked at. */
function living(
  directory: DecoyDirectory,
  ranges: readonly AddressRange[],
  limit: number,
): { decoys: Decoy[]; complete: boolean } {
  const decoys: Decoy[] = [];
  let looked = 0;
  for (const range of ranges) {
    for (let value = range.first; value <= range.last; value += 1n) {
      if (decoys.length >= limit || looked >= maxLookedAt) return { decoys, complete: false };
      looked += 1;
      const address: Address = { family: range.family, value };
      const decoy = directory.find(renderAddress(address));
      if (decoy) decoys.push(decoy);
    }
  }
  return { decoys, complete: true };
}

const byValue = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);

function clip(range: AddressRange, wanted: readonly AddressRange[] | undefined): AddressRange[] {
  if (!wanted) return [range];
  return wanted
    .filter(({ family, first, last }) => family === range.family && first <= range.last && range.first <= last)
    .map(({ family, first, last }) => ({
      family,
      first: [first, range.first].sort(byValue)[1],
      last: [last, range.last].sort(byValue)[0],
    }));
}

/** Newest touch by decoy address; empty when nothing can be read, for the list is useful without. */
async function lastTouches(context: CommandContext, ranges: readonly AddressRange[]): Promise<Map<string, Micros>> {
  const touches = new Map<string, Micros>();
  const filter = { destination: ranges.map(renderRange).join(','), limit: '10000' };
  const note = (ip: string, at: string): void => {
    const time = parseMicros(at);
    if (time > (touches.get(ip) ?? 0)) touches.set(ip, time);
  };
  try {
    await context.read(async (reader) => {
      for (const session of (await reader.sessions(filter)).items) note(session.destination.ip, session['@timestamp']);
      for (const probe of (await reader.probes({ ...filter, limit: '1000' })).items)
        for (const target of probe.weir.probe.targets) note(target.ip, probe['@timestamp']);
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
  const groups = groupsOf(configuration);
  const directory = new DecoyDirectory(groups, configuration.personas);
  const ranges = groups.flatMap((group) => group.ranges.flatMap((range) => clip(range, wanted && [wanted])));
  const { decoys, complete } = living(directory, ranges, limit);
  const touches = decoys.length === 0 ? new Map<string, Micros>() : await lastTouches(context, ranges.slice(0, 64));
  const rows: Row[] = decoys.map((decoy) => {
    const touched = touches.get(decoy.ip);
    return touched === undefined ? decoy : { ...decoy, touched };
  });
  if (context.json) {
    await context.printJsonLines(
      rows.map(({ ip, diversion, persona, mac, touched }) => ({
        ip,
        diversion,
        persona: persona.name,
        service: 'catch-all',
        ...(mac ? { mac } : {}),
        ports: { tcp: renderPorts(persona.tcp.open), udp: renderPorts(persona.udp.open) },
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
    { title: 'PERSONA', text: ({ persona }) => printable(persona.name, 40), paint: style.bold },
    { title: 'SYSTEM', text: ({ persona }) => printable(persona.operatingSystem, 40) },
    { title: 'MAC', text: ({ mac }) => mac ?? "this machine's" },
    { title: 'DIVERSION', text: ({ diversion }) => diversion },
    { title: 'SERVICE', text: () => 'catch-all' },
    {
      title: 'TOUCHED',
      align: 'right',
      text: ({ touched }) =>
        touched === undefined ? '-' : `${renderAgo(touched, now)}${renderAgo(touched, now) === 'now' ? '' : ' ago'}`,
    },
    { title: 'OPEN PORTS', text: portsOf, flexible: true },
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
  ])
    .argument('[address]', 'address, CIDR block or range')
    .option('--limit <rows>', `at most so many (default ${defaultShown})`)
    .action((wanted: string | undefined, options: Options) => run(options, (context) => show(context, wanted, options)));
