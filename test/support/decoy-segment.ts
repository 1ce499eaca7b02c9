// A sensor namespace with diverted ranges, the few rules that lead them to intake sockets, and the directory that
// matches. For tests of sockets: the real ruleset is plan/'s and has its own tests.

import type { AddressRange } from '../../src/model/address.ts';
import { parseRange } from '../../src/model/address.ts';
import { DecoyDirectory, type DecoyGroup } from '../../src/model/decoy.ts';
import type { Persona } from '../../src/model/persona.ts';
import { allPorts, noPorts, type PortSet, parsePorts } from '../../src/model/port-set.ts';
import type { TestNamespace } from './namespace.ts';

export const openPersona: Persona = {
  name: 'all-open',
  description: 'every port open',
  macPrefixes: ['00:0c:29'],
  tcp: { open: allPorts, otherwise: 'closed' },
  udp: { open: allPorts, otherwise: 'closed' },
  answersEcho: true,
  ttl: 64,
  services: {},
  banners: {},
  hostname: 'host{n}',
  operatingSystem: 'Linux',
};

export const personas: ReadonlyMap<string, Persona> = new Map([
  [openPersona.name, openPersona],
  [
    'web',
    {
      ...openPersona,
      name: 'web',
      tcp: { open: parsePorts('22,80,443') as PortSet, otherwise: 'closed' },
      udp: { open: noPorts, otherwise: 'closed' },
    },
  ],
]);

export function decoyGroup(ranges: readonly string[], overrides: Partial<DecoyGroup> = {}): DecoyGroup {
  return {
    diversion: 'lab',
    kind: 'claimed',
    ranges: ranges.map((text) => parseRange(text) as AddressRange),
    population: { seed: 7, shares: [{ persona: 'all-open', share: 10_000 }] },
    macs: {},
    place: { file: 'lab.yaml', line: 1 },
    ...overrides,
  };
}

export const decoyDirectory = (groups: readonly DecoyGroup[]): DecoyDirectory => new DecoyDirectory(groups, personas);

export interface DiversionPorts {
  readonly tcp4?: number;
  readonly tcp6?: number;
  readonly udp4?: number;
  readonly udp6?: number;
}

/**
 * Routes and rules of the sensor. SYNs to open ports are logged to group 87 as `syn`; with `closed` ports given, TCP to
 * those is logged as `closed` and reset; stray flag combinations and echo requests are logged.
 */
export async function divert(
  sensor: TestNamespace,
  ranges: { four?: string; six?: string },
  ports: DiversionPorts,
  closed?: string,
  diversion = 'lab',
): Promise<void> {
  for (const [family, range] of [
    ['-4', ranges.four],
    ['-6', ranges.six],
  ] as const)
    if (range) await sensor.run(['ip', family, 'route', 'add', 'local', range, 'dev', 'lo', 'table', 'local', 'proto', '87']);
  const log = (kind: string): string => `log group 87 snaplen 128 queue-threshold 64 prefix "weir:${kind}:${diversion}"`;
  const lines = (family: 'ip' | 'ip6', range: string, tcp?: number, udp?: number): string => {
    const here = `${family} daddr ${range}`;
    const to = family === 'ip' ? '127.0.0.1' : '[::1]';
    const icmp = family === 'ip' ? 'icmp type echo-request' : 'icmpv6 type echo-request';
    return [
      `${here} ${icmp} ${log('echo')} accept`,
      `${here} tcp flags & (fin|syn|rst|psh|ack|urg) == 0x0 ${log('null')} drop`,
      `${here} tcp flags & (fin|syn|rst|psh|ack|urg) == fin ${log('fin')} drop`,
      `${here} tcp flags & (fin|syn|rst|psh|ack|urg) == (fin|psh|urg) ${log('xmas')} drop`,
      ...(closed ? [`${here} tcp dport ${closed} tcp flags & (syn|ack) == syn ${log('closed')} reject with tcp reset`] : []),
      ...(closed ? [`${here} udp dport ${closed} ${log('closed')} reject`] : []),
      ...(tcp ? [`${here} tcp flags & (syn|ack|rst) == syn ${log('syn')}`] : []),
      ...(tcp ? [`${here} meta l4proto tcp tproxy ${family} to ${to}:${tcp} accept`] : []),
      ...(udp ? [`${here} meta l4proto udp tproxy ${family} to ${to}:${udp} accept`] : []),
    ].join('\n');
  };
  await sensor.nft(`table inet weirlab {
  chain raw { type filter hook prerouting priority -300;
    ${ranges.four ? `ip daddr ${ranges.four} notrack` : ''}
    ${ranges.six ? `ip6 daddr ${ranges.six} notrack` : ''}
  }
  chain divert { type filter hook prerouting priority -90;
    socket transparent 1 accept
    ${ranges.four ? lines('ip', ranges.four, ports.tcp4, ports.udp4) : ''}
    ${ranges.six ? lines('ip6', ranges.six, ports.tcp6, ports.udp6) : ''}
  }
}
`);
}
