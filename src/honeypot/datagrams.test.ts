// UDP: one session per five-tuple, the source never called reliable, and never a byte more out than in.

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { silentLog } from '../base/log.ts';
import type { Limits } from '../model/configuration.ts';
import { CatchAll } from './catch-all.ts';
import { CertificateMint } from './certificate-mint.ts';
import { datagramResponders, recogniseDatagram } from './datagrams/registry.ts';
import { plainPersona } from './loopback-listener.ts';
import { MemorySink } from './memory-sink.ts';

const limits: Limits = {
  sessions: 50,
  sessionsPerSource: 10,
  sessionBytes: 1000,
  idleTimeoutMs: 1000,
  totalTimeoutMs: 9000,
  bannerDelayMs: 100,
};
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const mint = new CertificateMint({ ec: privateKey, rsa: privateKey }, 4, new Date());

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

interface Stage {
  readonly sink: MemorySink;
  readonly catchAll: CatchAll;
  /** Moves the clock the catch-all is given. */
  nowMs: number;
  /** What was answered to a payload. */
  ask(port: number, payload: Buffer, source?: string, sourcePort?: number, network?: string): Buffer | undefined;
}

function stage(): Stage {
  const sink = new MemorySink();
  const time = { ms: 1_000_000 };
  const catchAll = new CatchAll({ sink, limits, certificates: mint, log: silentLog, clock: () => time.ms * 1000 });
  return {
    sink,
    catchAll,
    get nowMs() {
      return time.ms;
    },
    set nowMs(value: number) {
      time.ms = value;
    },
    ask(port, payload, source = '192.0.2.1', sourcePort = 5555, network = '') {
      let answer: Buffer | undefined;
      catchAll.datagram({
        source: { ip: source, port: sourcePort },
        destination: { ip: '198.51.100.1', port },
        network,
        diversion: 'test',
        persona: plainPersona,
        at: time.ms * 1000,
        payload,
        onLink: false,
        replyOnLink: () => false,
        reply(bytes) {
          answer = Buffer.from(bytes);
          return true;
        },
      });
      return answer;
    },
  };
}

const dnsQuery = hex('1234010000010000000000000776657273696f6e0462696e640000100003');
const ntpQuery = Buffer.concat([hex('23020a00'), Buffer.alloc(44, 1)]);
const snmpGet = (community: string, version: number): Buffer => {
  const name = Buffer.from(community);
  const pdu = hex('a01902040a0b0c0d020100020100300b300906052b060102010500');
  const body = Buffer.concat([Buffer.from([2, 1, version, 4, name.length]), name, pdu]);
  return Buffer.concat([Buffer.from([0x30, body.length]), body]);
};
const samples: readonly (readonly [protocol: string, port: number, payload: Buffer, answered: boolean])[] = [
  ['dns', 53, dnsQuery, true],
  ['dns', 5300, dnsQuery, true],
  ['ntp', 123, ntpQuery, true],
  ['ntp', 123, hex('1700032a00000000'), false],
  ['snmp', 161, snmpGet('public', 1), true],
  ['snmp', 161, snmpGet('public', 0), true],
  ['snmp', 161, snmpGet('guess', 1), false],
  ['ldap', 389, hex('3025020101632004000a01000a0100020100020100010100870b6f626a656374436c6173733000'), true],
  ['tftp', 69, Buffer.from('\0\x01config.bin\0octet\0', 'latin1'), true],
  ['tftp', 69, Buffer.from('\0\x01a\0octet\0', 'latin1'), true],
  [
    'sip',
    5060,
    Buffer.from(
      'OPTIONS sip:100@198.51.100.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5555;branch=z9hG4bK-1\r\nMax-Forwards: 70\r\nFrom: "x" <sip:100@192.0.2.1>;tag=1\r\nTo: "x" <sip:100@198.51.100.1>\r\nCall-ID: 123@192.0.2.1\r\nCSeq: 1 OPTIONS\r\nContact: <sip:100@192.0.2.1:5555>\r\nAccept: application/sdp\r\nUser-Agent: a scanner\r\nContent-Length: 0\r\n\r\n',
    ),
    true,
  ],
  ['memcached', 11211, Buffer.from('\0\x01\0\0\0\x01\0\0stats\r\n', 'latin1'), true],
  ['coap', 5683, Buffer.concat([hex('40017d70bb'), Buffer.from('.well-known'), hex('04'), Buffer.from('core')]), true],
  ['sunrpc', 111, hex(`72fe1d1300000000 00000002 000186a0 00000002 00000004 ${'00'.repeat(16)}`), true],
  ['stun', 3478, Buffer.concat([hex('0001000c2112a442'), Buffer.alloc(12, 5), hex('80220008'), Buffer.alloc(8, 0x61)]), true],
  ['stun', 3478, Buffer.concat([hex('000100002112a442'), Buffer.alloc(12, 5)]), false],
  [
    'dtls',
    443,
    Buffer.concat([
      hex('16feff00000000000000000064 010000580000000000000058 fefd'),
      Buffer.alloc(32, 9),
      hex('0000'),
      Buffer.alloc(52, 1),
    ]),
    true,
  ],
  ['quic', 443, Buffer.concat([hex('c0babababa08'), Buffer.alloc(8, 1), hex('00'), Buffer.alloc(1190, 0)]), true],
  ['source-query', 27015, Buffer.concat([hex('ffffffff54'), Buffer.from('Source Engine Query\0')]), true],
  ['bacnet', 47808, hex('810a001101040005010c0c023fffff194b'), true],
  ['ssdp', 1900, Buffer.from('M-SEARCH * HTTP/1.1\r\nHost:239.255.255.250:1900\r\nMan:"ssdp:discover"\r\n\r\n'), false],
  [
    'netbios',
    137,
    Buffer.concat([hex('80f000100001000000000000 20'), Buffer.from('CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'), hex('0000210001')]),
    false,
  ],
  ['ipmi', 623, hex('0600ff07000000000000000000092018c88100388e04b5'), false],
];

describe('datagrams', () => {
  for (const [protocol, port, payload, answered] of samples)
    test(`${protocol} on ${port}: ${answered ? 'answered' : 'silence'} (${payload.length} bytes)`, () => {
      const { ask, sink, catchAll } = stage();
      const answer = ask(port, payload);
      const [session] = sink.sessions;
      assert.equal(session.findings.protocol, protocol);
      assert.equal(session.start.sourceReliable, false);
      assert.equal(answer !== undefined, answered);
      assert.ok((answer?.length ?? 0) <= payload.length);
      assert.equal(session.chunks.length, answered ? 2 : 1);
      assert.equal(catchAll.counters().defects, 0);
    });

  test('the same five-tuple in two networks is two sessions, and each source has its own allowance', async () => {
    const it = stage();
    const answered = { one: 0, two: 0 };
    for (let round = 0; round < 40; round += 1) {
      if (it.ask(53, dnsQuery, '192.0.2.1', 4000, 'one')) answered.one += 1;
      if (it.ask(53, dnsQuery, '192.0.2.1', 4000, 'two')) answered.two += 1;
    }
    assert.equal(it.sink.sessions.length, 2);
    assert.deepEqual(answered, { one: 20, two: 20 });
    await it.catchAll.close();
  });

  test('one session per five-tuple, ended when idle', async () => {
    const it = stage();
    for (let round = 0; round < 3; round += 1)
      for (const port of [53, 123, 9999]) it.ask(port, Buffer.from('x'), '192.0.2.1', 4000 + round);
    it.ask(53, Buffer.from('again'), '192.0.2.1', 4000);
    assert.equal(it.sink.sessions.length, 9);
    assert.equal(it.sink.sessions[0].chunks.length, 2);
    it.nowMs += 2000;
    await it.sink.until((sink) => sink.sessions.every(({ outcome }) => outcome === 'idle'));
    assert.equal(it.catchAll.counters().openUdp, 0);
    await it.catchAll.close();
  });

  test('the table is bounded: forged sources push out the oldest, each on record', async () => {
    const it = stage();
    for (let index = 0; index < 120; index += 1) it.ask(53, dnsQuery, `203.0.113.${index}`);
    assert.equal(it.catchAll.counters().openUdp, limits.sessions);
    assert.equal(it.catchAll.counters().udpShed, 120 - limits.sessions);
    assert.equal(it.sink.sessions.filter(({ outcome }) => outcome === 'shed').length, 120 - limits.sessions);
    await it.catchAll.close();
    assert.equal(it.sink.sessions.filter(({ outcome }) => outcome === 'shutdown').length, limits.sessions);
  });

  test('a source that asks without end is answered for a while only', async () => {
    const it = stage();
    let answers = 0;
    for (let index = 0; index < 100; index += 1) if (it.ask(53, dnsQuery)) answers += 1;
    assert.equal(answers, 20);
    assert.equal(it.catchAll.counters().udpWithheld + answers, it.catchAll.counters().datagrams);
    it.nowMs += 1000;
    assert.ok(it.ask(53, dnsQuery), 'and again later');
    await it.catchAll.close();
  });

  test('what is an answer itself is never answered', async () => {
    const it = stage();
    const response = Buffer.from(dnsQuery);
    response[2] |= 0x80;
    assert.equal(it.ask(53, response), undefined);
    const time = Buffer.from(ntpQuery);
    time[0] = 0x24;
    assert.equal(it.ask(123, time), undefined);
    assert.equal(it.ask(5060, Buffer.from('SIP/2.0 200 OK\r\nVia: x SIP/2.0\r\n\r\n'), '192.0.2.9'), undefined);
    await it.catchAll.close();
  });

  test('any bytes on any port: no throw, no growth', () => {
    const ports = [...new Set(datagramResponders.flatMap((responder) => responder.ports)), 9999];
    fc.assert(
      fc.property(
        fc.constantFrom(...ports),
        fc.oneof(
          fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
          fc
            .tuple(fc.constantFrom(...samples.map(([, , payload]) => payload)), fc.nat(600), fc.nat(255), fc.boolean())
            .map(([payload, at, value, cut]) => {
              const bytes = Buffer.from(payload);
              bytes[at % bytes.length] = value;
              return cut ? bytes.subarray(0, at % bytes.length) : bytes;
            }),
        ),
        (port, payload) => {
          const responder = recogniseDatagram(payload, port);
          responder?.answer?.({
            payload,
            persona: plainPersona,
            source: { ip: '192.0.2.1', port: 1 },
            destination: { ip: '198.51.100.1', port },
            names: undefined,
            find() {},
          });
          const { ask, catchAll } = stage();
          assert.ok((ask(port, payload)?.length ?? 0) <= payload.length);
          assert.equal(catchAll.counters().defects, 0);
          void catchAll.close();
        },
      ),
      { numRuns: 1500 },
    );
  });
});
