// A network of a few decoys with names, and a catch-all that is asked for them from its link or from beyond: for tests.

import { generateKeyPairSync } from 'node:crypto';
import { type Clock, systemClock } from '../base/clock.ts';
import { silentLog } from '../base/log.ts';
import { type AddressRange, parseAddress, parseRange, renderAddress } from '../model/address.ts';
import type { Limits } from '../model/configuration.ts';
import { DecoyDirectory } from '../model/decoy.ts';
import { NameBook } from '../model/name-book.ts';
import { askedDecoy } from '../model/name-question.ts';
import type { Persona } from '../model/persona.ts';
import { type PortSet, parsePorts } from '../model/port-set.ts';
import { CatchAll } from './catch-all.ts';
import { CertificateMint } from './certificate-mint.ts';
import { plainPersona } from './loopback-listener.ts';
import { MemorySink } from './memory-sink.ts';

const limits: Limits = {
  sessions: 50,
  sessionsPerSource: 40,
  sessionBytes: 100_000,
  idleTimeoutMs: 1000,
  totalTimeoutMs: 9000,
  bannerDelayMs: 100,
};
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

/** One of the right size for a handful of questions. */
export const openSmallCatchAll = (sink: MemorySink, clock: Clock = systemClock): CatchAll => {
  const certificates = new CertificateMint({ ec: privateKey, rsa: privateKey }, 4, new Date());
  return new CatchAll({ sink, limits, certificates, log: silentLog, clock });
};

const ports = (text: string): PortSet => parsePorts(text) as PortSet;

const persona = (name: string, hostname: string, tcp: string, udp: string): Persona => ({
  ...plainPersona,
  name,
  hostname,
  tcp: { open: ports(tcp), otherwise: 'closed' },
  udp: { open: ports(udp), otherwise: 'closed' },
});

export const namedPersonas: ReadonlyMap<string, Persona> = new Map(
  [
    persona('desktop', 'DESKTOP-{n}', '139,445', '137,5353,5355'),
    persona('printer', 'NPI{n}', '80', '5353'),
    persona('dc', 'DC-{n}', '53,445', '53,137'),
    persona('web', 'web-{n}', '80', '9'),
  ].map((one) => [one.name, one]),
);

/** 10.1.0.0/24 is the link; desktops from 10.1.0.10 on, a printer, a domain controller and a web server behind them. */
export function namedBook(): NameBook {
  const place = { file: 'lab.yaml', line: 1 };
  const group = (name: string, ...ranges: string[]) => ({
    diversion: 'floor-1',
    kind: 'claimed' as const,
    ranges: ranges.map((text) => parseRange(text) as AddressRange),
    population: { seed: 7, shares: [{ persona: name, share: 10_000 }] },
    macs: {},
    place,
  });
  const groups = [
    group('desktop', '10.1.0.10-10.1.0.99', 'fd01::10-fd01::1f'),
    group('printer', '10.1.0.100'),
    group('dc', '10.1.0.101'),
    group('web', '10.1.0.102'),
  ];
  return new NameBook(new DecoyDirectory(groups, namedPersonas), [parseRange('10.1.0.0/24') as AddressRange]);
}

export interface Said {
  readonly bytes: Buffer;
  readonly how: 'plain' | 'on-link';
  readonly hopLimit?: number;
  readonly toGroup?: boolean;
}

export interface NamingStage {
  readonly names: NameBook;
  readonly sink: MemorySink;
  readonly catchAll: CatchAll;
  /** Lets time pass. */
  pass(ms: number): void;
  /** What is answered to a datagram; with a group, to the decoy that the question means. */
  ask(to: string, port: number, payload: Buffer, from?: { ip?: string; port?: number }): Said | undefined;
}

export function namingStage(): NamingStage {
  const sink = new MemorySink();
  const time = { ms: 1_000_000 };
  const catchAll = openSmallCatchAll(sink, () => time.ms * 1000);
  const names = namedBook();
  return {
    names,
    sink,
    catchAll,
    pass(ms) {
      time.ms += ms;
    },
    ask(to, port, payload, { ip = '10.1.0.5', port: sourcePort = 5555 } = {}) {
      const source = parseAddress(ip);
      const direct = parseAddress(to);
      if (!source || !direct) throw new Error('not an address');
      const isGroup =
        direct.family === 4 ? direct.value >> 28n === 14n || (direct.value & 255n) === 255n : direct.value >> 120n === 0xffn;
      const asked = isGroup ? askedDecoy(names, direct.family, port, payload) : names.nameOf(direct);
      if (!asked) return undefined;
      const address = 'address' in asked ? asked.address : direct;
      const destination = names.directory.find(address);
      if (!destination) return undefined;
      let said: Said | undefined;
      const text = renderAddress(address);
      catchAll.datagram({
        source: { ip, port: sourcePort },
        destination: { ip: text, port },
        network: 'floor-1',
        diversion: 'floor-1',
        persona: destination.persona,
        names,
        ...(isGroup ? { group: to } : {}),
        onLink: names.isOnLink(source),
        at: time.ms * 1000,
        payload,
        reply(bytes) {
          said = { bytes: Buffer.from(bytes), how: 'plain' };
          return true;
        },
        replyOnLink(bytes, hopLimit, toGroup) {
          said = { bytes: Buffer.from(bytes), how: 'on-link', hopLimit, toGroup };
          return true;
        },
      });
      return said;
    },
  };
}
