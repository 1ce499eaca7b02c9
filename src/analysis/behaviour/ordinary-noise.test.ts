// What networks do all day beside attacks: many clients behind one address, monitoring, strays, traces of the route. And scans so
// slow or so widely shared that they look like it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { attacker, probe, session, TrackerBed, times } from '../../../test/support/behaviour-bed.ts';
import type { WeirEvent } from '../../model/event.ts';

const hour = 3600;
const day = 24 * hour;
const decoy = '10.66.0.9';
const judge = (events: readonly WeirEvent[]): TrackerBed => new TrackerBed().takeAll(events);

describe('clients', () => {
  test('200 behind one address are no scan and no brute force, however often they come', () => {
    const one = times(2000, (n) => session(n * 1.8, attacker, `${decoy}:443`, 'hello'));
    assert.equal(judge(one).summary(), 'repeated-access 1');
    const five = times(2000, (n) => session(n * 1.8, attacker, `10.66.0.${n % 5}:${n % 2 ? 80 : 443}`, 'hello'));
    assert.match(judge(five).summary(), /^repeated-access \d+$/);
  });

  test('of a domain controller use fourteen ports', () => {
    const ports = [53, 88, 135, 139, 389, 445, 464, 636, 3268, 3269, 49_152, 49_153, 49_154, 49_155];
    assert.equal(judge(ports.map((port, n) => session(n, attacker, `${decoy}:${port}`, 'x'))).summary(), '');
  });

  test('that log in with the same name and password every minute come again and guess nothing', () => {
    const job = times(100, (n) =>
      session(n * 60, attacker, `${decoy}:21`, 'x', { protocol: 'ftp', userName: 'job', password: 'p' }),
    );
    assert.equal(judge(job).summary(), 'repeated-access 1');
  });

  test('of a mail relay that tries again each quarter of an hour, and peers of a swarm at one port, have no name', () => {
    assert.equal(judge(times(288, (n) => session(n * 900, attacker, `${decoy}:25`, 'EHLO a'))).summary(), '');
    const peers = times(500, (n) => probe(n / 5, `203.0.113.${n % 250}`, [`${decoy}:51413/udp`, `${decoy}:51413`]));
    assert.equal(judge(peers).summary(), '');
  });
});

describe('monitoring', () => {
  test('of 24 decoys by ping and SNMP, every five minutes for a day, is nothing', () => {
    const polls = times(288, (round) =>
      times(24, (n) => probe(round * 300 + n, attacker, [`10.66.0.${n}`, `10.66.0.${n}:161/udp`])),
    );
    assert.equal(judge(polls.flat()).summary(), '');
  });

  test('of thirty ports of twenty decoys every minute is what it looks like, once', () => {
    const polls = times(60, (round) =>
      times(600, (n) => session(round * 60 + n / 20, attacker, `10.66.0.${n % 20}:${1000 + (n % 30)}`)),
    );
    assert.equal(judge(polls.flat()).summary(), 'block-scan 1');
  });
});

describe('strays', () => {
  test('answers to DNS queries asked in our name are possible scans only', () => {
    const answers = (sourcePort: number): string[] => {
      const bed = judge(times(40, (n) => probe(n * 3, attacker, [`${decoy}:${20_000 + n * 731}/udp`], { sourcePort })));
      return bed.found().map(({ behaviour, confidence }) => `${behaviour} ${confidence}`);
    };
    assert.deepEqual(answers(53), ['port-scan possible']);
    assert.deepEqual(answers(40_404), ['port-scan likely']);
    const sessions = times(40, (n) =>
      session(n * 3, attacker, `${decoy}:${20_000 + n * 731}`, 'x', {
        transport: 'udp',
        sourceReliable: false,
        source: { ip: attacker, port: 123 },
      }),
    );
    assert.deepEqual(
      judge(sessions)
        .found('port-scan')
        .map(({ confidence }) => confidence),
      ['possible'],
    );
  });

  test('a source port of a service does not excuse who asks services', () => {
    const asks = times(40, (n) => probe(n * 3, attacker, [`10.66.0.${n}:123/udp`], { sourcePort: 123 }));
    assert.deepEqual(
      judge(asks)
        .found()
        .map(({ behaviour, confidence }) => [behaviour, confidence]),
      [['sweep', 'likely']],
    );
  });

  test('answers of a flooded server to forged SYNs, all over the decoys, are a possible scan', () => {
    const strays = times(256, (n) =>
      probe(n / 3, attacker, [`10.66.0.${n}:${1024 + n * 91}`], { probeKind: 'ack', sourcePort: 80 }),
    );
    assert.deepEqual(
      judge(strays)
        .found()
        .map(({ behaviour, confidence }) => [behaviour, confidence]),
      [['block-scan', 'possible']],
    );
  });
});

describe('a trace of the route', () => {
  test('goes to many ports and is no scan', () => {
    assert.equal(judge(times(60, (n) => probe(n / 2, attacker, [`${decoy}:${33_464 + n}/udp`]))).summary(), '');
    assert.equal(judge(times(600, (n) => probe(n, attacker, [`${decoy}:${33_434 + (n % 90)}/udp`]))).summary(), '');
  });

  test('to many decoys is a sweep, the same ports over TCP are a scan, and in a scan they count each', () => {
    assert.equal(judge(times(60, (n) => probe(n / 2, attacker, [`10.66.0.${n}:${33_434 + n}/udp`]))).summary(), 'sweep 1');
    assert.equal(judge(times(60, (n) => probe(n / 2, attacker, [`${decoy}:${33_434 + n}`]))).summary(), 'port-scan 1');
    const [scan] = judge(times(200, (n) => probe(n / 2, attacker, [`${decoy}:${33_350 + n}/udp`]))).found();
    assert.deepEqual([scan.behaviour, scan.ports], ['port-scan', 200]);
  });

  test('is none either a day after a scan of the same source', () => {
    const scan = times(60, (n) => session(n, attacker, `${decoy}:${1 + n}`));
    const trace = times(60, (n) => probe(day + n / 2, attacker, [`${decoy}:${33_464 + n}/udp`]));
    assert.equal(judge([...scan, ...trace]).summary(), 'port-scan 1');
  });
});

describe('slow and shared scans', () => {
  const ports = (count: number, apart: number): WeirEvent[] =>
    times(count, (n) => session(n * apart, attacker, `${decoy}:${1 + n}`));

  test('three ports a day are a slow scan, of a window one verdict, and no touch is in two', () => {
    const found = judge(ports(90, 8 * hour)).found();
    assert.ok(found.length >= 3 && found.length <= 5, `${found.length}`);
    for (const { behaviour, ports: seen } of found) assert.ok(behaviour === 'slow-scan' && (seen ?? 0) >= 15);
    assert.ok(found.reduce((sum, { hits }) => sum + hits, 0) <= 90);
    const ends = found.map(({ start, end }) => [start, end]).sort(([a], [b]) => a - b);
    for (const [index, [start]] of ends.entries()) assert.ok(index === 0 || start > ends[index - 1][1]);
  });

  test('two ports an hour for ten days are two verdicts, which together have each port once', () => {
    const found = judge(ports(480, hour / 2)).found();
    assert.deepEqual(
      found.map(({ behaviour, hits, ports: seen }) => [behaviour, hits === seen]),
      [
        ['slow-scan', true],
        ['slow-scan', true],
      ],
    );
    assert.equal(
      found.reduce((sum, { hits }) => sum + hits, 0),
      480,
    );
  });

  test('a slow scan that rested and began again with a few ports is no second one', () => {
    const rest = times(5, (n) => session(4 * day + n * hour, attacker, `${decoy}:${5000 + n}`));
    assert.equal(judge([...ports(20, hour), ...rest]).summary(), 'slow-scan 1');
  });

  test('one port a day is nothing, and so are 300 sources with one port each', () => {
    assert.equal(judge(ports(10, day)).summary(), '');
    assert.equal(judge(times(300, (n) => session(n, `203.0.${n >> 8}.${n & 255}`, `${decoy}:${n + 1}`))).summary(), '');
  });
});
