// A ruleset that closes what is open and was not asked to stay: default deny for what comes in by links that lead out, as text to read
// first, with how to take it back. Pure; nothing here applies it.

import type { PortRange } from '../../model/port-set.ts';
import type { Transport } from '../../model/session.ts';
import { sshServer } from '../kill/kill-guard.ts';
import { type ExposedService, type ExposureReport, reachRank } from './exposure-report.ts';

export interface KeptPort {
  readonly transport: Transport;
  readonly ports: PortRange;
  readonly why: typeof ownSession | 'asked for';
}

export const ownSession = 'your own session';

export interface ExposureGuard {
  /** For `nft -f`; one transaction. */
  readonly text: string;
  readonly undo: string;
  /** Services that can be reached from outside now and no longer then. */
  readonly closes: readonly ExposedService[];
  readonly keeps: readonly ExposedService[];
  /** The worst first: what may cut off whoever applies it. */
  readonly risks: readonly string[];
}

export const guardTable = 'exposure_guard';

/** Rules of Docker and most others stand at 0: earlier drops count whatever they accept. */
const priority = -10;

const dropped = 'meta l4proto { tcp, udp } counter drop';

const quote = (name: string): string => `"${name.replaceAll(/["\\\n]/g, '')}"`;
const setOf = (items: readonly string[]): string => `{ ${items.join(', ')} }`;
const rangeText = ({ first, last }: PortRange): string => (first === last ? String(first) : `${first}-${last}`);

const isKept = (service: ExposedService, port: number, keep: readonly KeptPort[]): boolean =>
  keep.some(({ transport, ports }) => transport === service.transport && port >= ports.first && port <= ports.last);

/** Ports by which a service is dialled from outside. */
const dialledPorts = ({ paths }: ExposedService): number[] => [
  ...new Set(paths.filter(isOutside).map(({ dialled }) => Number(dialled.slice(dialled.lastIndexOf(':') + 1)))),
];

const isOutside = ({ from }: ExposedService['paths'][number]): boolean => from.zone !== 'container';

/**
 * For the namespace the report was made in. `keep` stays open; `inside` are devices that lead to containers, `down` those of which it cannot
 * be told where they lead. `undefined` where no link leads out: there is nothing to close. Other protocols than TCP and UDP stay: what
 * speaks them (ESP, VRRP, OSPF) is in no report.
 */
export function planExposureGuard(
  report: ExposureReport,
  keep: readonly KeptPort[],
  inside: readonly string[],
  diverts: boolean,
  down: readonly string[] = [],
): ExposureGuard | undefined {
  const devices = [
    ...new Set(report.vantages.filter(({ netns, zone }) => netns === '' && zone !== 'container').map(({ device }) => device)),
  ];
  if (devices.length === 0) return undefined;
  const outside = report.services.filter(
    ({ paths, atWorst, reach, isWeir }) =>
      !isWeir && reachRank(atWorst ?? reach) <= reachRank('lan') && paths.some(({ from }) => from.netns === ''),
  );
  const closes = outside.filter((service) => dialledPorts(service).some((port) => !isKept(service, port, keep)));
  const keeps = outside.filter((service) => !closes.includes(service));
  const notWalked = report.services.filter((one) => (one.notWalked ?? 0) > 0).length;
  const out = setOf(devices.map(quote));
  const accepts = (match: (transport: Transport, ports: string) => string): string[] =>
    (['tcp', 'udp'] as const).flatMap((transport) => {
      const ports = keep.filter((one) => one.transport === transport).map(({ ports: range }) => rangeText(range));
      return ports.length === 0 ? [] : [`\t\t${match(transport, setOf([...new Set(ports)]))} accept`];
    });
  const text = [
    `table inet ${guardTable} {`,
    '\tchain input {',
    `\t\ttype filter hook input priority ${priority}; policy accept;`,
    `\t\tiifname != ${out} accept`,
    '\t\tct state established,related accept',
    // What Weir diverts ends in a transparent socket of its own.
    ...(diverts ? ['\t\tsocket transparent 1 accept'] : []),
    '\t\tudp dport { 68, 546 } accept',
    ...accepts((transport, ports) => `${transport} dport ${ports}`),
    `\t\t${dropped}`,
    '\t}',
    ...forwardChain(out, inside, accepts),
    '}',
  ];
  return {
    text: `${text.join('\n')}\n`,
    undo: `nft delete table inet ${guardTable}`,
    closes,
    keeps,
    risks: [
      ...lockOutRisk(closes, keep),
      ...(notWalked === 0
        ? []
        : [`not every way was walked to ${notWalked} services: what it closes and keeps of theirs is not all listed`]),
      'it closes TCP and UDP; other protocols come in as before',
      ...(down.length === 0
        ? []
        : [
            `not in it, because they are down and it cannot be told where they lead: ${down.join(', ')}; plan again once they are up`,
          ]),
      'whoever comes in by a port that is not kept is cut off; sessions that stand stay',
      'it lasts until the next boot: to keep it, put its text where this machine keeps its rules (often /etc/nftables.conf)',
    ],
  };
}

/** sudo(8) and consoles leave no SSH_CONNECTION: then the port whoever applies it came in by may be one of those that close. */
function lockOutRisk(closes: readonly ExposedService[], keep: readonly KeptPort[]): string[] {
  if (closes.length === 0 || keep.some(({ why }) => why === ownSession)) return [];
  const logins = closes.filter(
    ({ transport, port, processes }) =>
      transport === 'tcp' && (port === 22 || processes.some(({ comm }) => sshServer.test(comm))),
  );
  const ports = [...new Set(logins.flatMap(dialledPorts))].sort((a, b) => a - b).join(',');
  const unknown = 'it may lock you out: which port you came in by is not known (sudo drops SSH_CONNECTION)';
  return [
    ports === ''
      ? `${unknown}: add it with --allow, unless you sit at this machine`
      : `${unknown}, and it closes ${ports}, where SSH logins come in: add --allow ${ports}, unless you sit at this machine`,
  ];
}

/** What is published to containers, or routed to them, does not pass the input hook. */
function forwardChain(
  out: string,
  inside: readonly string[],
  accepts: (match: (transport: Transport, ports: string) => string) => string[],
): string[] {
  return [
    '\tchain forward {',
    `\t\ttype filter hook forward priority ${priority}; policy accept;`,
    `\t\tiifname != ${out} accept`,
    '\t\tct state established,related accept',
    ...accepts((transport, ports) => `ct status dnat meta l4proto ${transport} ct original proto-dst ${ports}`),
    `\t\tct status dnat ${dropped}`,
    ...(inside.length === 0 ? [] : [`\t\toifname ${setOf(inside.map(quote))} ${dropped}`]),
    '\t}',
  ];
}
