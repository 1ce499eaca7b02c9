// Scans: from which touch on they have a name, what is none, and that one scan stays one verdict however large.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { attacker, epoch, probe, secondsOf, session, syns, TrackerBed, times } from '../../../test/support/behaviour-bed.ts';

const host = (index: number): string => `10.66.${index >> 8}.${index & 255}`;

describe('port scans', () => {
  test('15 ports of one decoy in five minutes are one, 14 are none', () => {
    const bed = new TrackerBed();
    for (const index of times(14, (n) => n)) bed.take(session(index * 20, attacker, `10.66.0.9:${1000 + index}`));
    assert.equal(bed.summary(), '');
    bed.take(session(290, attacker, '10.66.0.9:2000'));
    const [scan] = bed.found();
    assert.equal(scan.behaviour, 'port-scan');
    assert.deepEqual([scan.source, scan.destination, scan.port], [attacker, '10.66.0.9', undefined]);
    assert.deepEqual([scan.hits, scan.ports, scan.hosts], [15, 15, 1]);
    assert.deepEqual([scan.start, scan.end], [epoch, secondsOf(290)]);
    assert.deepEqual([scan.confidence, scan.severity, scan.techniques], ['certain', 'low', ['T1046']]);
    assert.equal(scan.records.length, 15);
    assert.deepEqual(scan.evidence, [
      '15 ports of the decoy 10.66.0.9 in 4 min 50 s, by 15 sessions and packets (threshold: 15 ports of one decoy in 5 min).',
    ]);
  });

  test('the window slides: 15 ports of which 14 are in any five minutes are no fast scan', () => {
    const bed = new TrackerBed();
    for (const index of times(15, (n) => n)) bed.take(session(index * 22, attacker, `10.66.0.9:${1000 + index}`));
    assert.equal(bed.summary(), 'slow-scan 1');
    const exact = new TrackerBed();
    for (const index of times(15, (n) => n)) exact.take(session((index * 300) / 14, attacker, `10.66.0.9:${1000 + index}`));
    assert.equal(exact.summary(), 'port-scan 1');
  });

  test('a log with the newest first says the same', () => {
    const bed = new TrackerBed();
    for (const index of times(30, (n) => n)) bed.take(session(1000 - index * 15, attacker, `10.66.0.9:${1000 + index}`));
    const [scan, ...others] = bed.found();
    assert.deepEqual([scan.behaviour, scan.ports, scan.hits, others.length], ['port-scan', 30, 30, 0]);
    assert.deepEqual([scan.start, scan.end], [secondsOf(1000 - 29 * 15), secondsOf(1000)]);
    const slower = new TrackerBed();
    for (const index of times(14, (n) => n)) slower.take(session(1000 - index * 20, attacker, `10.66.0.9:${1000 + index}`));
    assert.equal(slower.summary(), '');
  });

  test('all 65,535 ports over TCP and all over UDP are one verdict, told at most once a second', () => {
    const bed = new TrackerBed();
    let told = 0;
    for (let port = 1; port <= 65_535; port += 1) {
      bed.take(session(port / 500, attacker, `10.66.0.9:${port}`));
      if (port % 100 === 0) told += bed.tracker.flush().length;
    }
    for (let port = 1; port <= 65_535; port += 50)
      bed.take(
        probe(
          140 + port / 5000,
          attacker,
          times(50, (n) => `10.66.0.9:${Math.min(port + n, 65_535)}/udp`),
        ),
      );
    assert.equal(told, 1, 'the clock of telling stood still');
    const [scan, ...others] = bed.found();
    assert.equal(others.length, 0);
    assert.deepEqual([scan.ports, scan.hosts, scan.hits], [131_070, 1, 65_535 + 65_550]);
    assert.equal(scan.records.length, 16);
    assert.ok(bed.tracker.counters().bytes < 200_000);
  });

  test('half-open ones name the tool and the doubt, and can be forged', () => {
    const bed = new TrackerBed();
    bed.take(
      probe(
        0,
        attacker,
        times(20, (n) => `10.66.0.9:${n + 1}`),
        { syn: syns.nmap, probeKind: 'half-open', unlisted: 30 },
      ),
    );
    const [scan] = bed.found();
    assert.deepEqual(
      [scan.behaviour, scan.tool, scan.confidence, scan.hits, scan.ports],
      ['port-scan', 'Nmap', 'likely', 50, 20],
    );
    assert.match(scan.evidence[1], /^30 of the packets went to targets beyond/);
    assert.match(scan.evidence.join(' '), /marks of Nmap\. No handshake was completed: the source can be forged/);
  });

  test('strays alone are only possible: backscatter looks the same', () => {
    const bed = new TrackerBed();
    bed.take(
      probe(
        0,
        attacker,
        times(30, (n) => `10.66.0.9:${40_000 + n}`),
        { probeKind: 'ack' },
      ),
    );
    const [scan] = bed.found();
    assert.deepEqual([scan.behaviour, scan.confidence], ['port-scan', 'possible']);
    assert.match(scan.evidence.join(' '), /forged our addresses/);
  });
});

describe('sweeps and block scans', () => {
  test('25 decoys at one port are a sweep, 24 are none; pings are a port of their own', () => {
    for (const [target, port] of [[(n: number) => `${host(n)}:445`, 445] as const, [(n: number) => host(n), 0] as const]) {
      const bed = new TrackerBed();
      bed.take(probe(0, attacker, times(24, target)));
      assert.equal(bed.summary(), '');
      bed.take(probe(1, attacker, [target(24)]));
      const [sweep] = bed.found();
      assert.deepEqual(
        [sweep.behaviour, sweep.port, sweep.hosts, sweep.ports, sweep.destination],
        ['sweep', port, 25, 1, undefined],
      );
      assert.equal(sweep.transport, port === 0 ? 'icmp' : 'tcp');
      assert.deepEqual(sweep.techniques, ['T1046', 'T1595.001']);
    }
  });

  test('a sweep of 50,000 decoys is one verdict; beyond 4,096 its count is said to be about so many', () => {
    const bed = new TrackerBed();
    for (let first = 0; first < 50_000; first += 100)
      bed.take(
        probe(
          first / 8000,
          attacker,
          times(100, (n) => `${host(first + n)}:23`),
          { syn: syns.masscan },
        ),
      );
    const [sweep, ...others] = bed.found();
    assert.equal(others.length, 0);
    assert.ok(Math.abs(sweep.hosts - 50_000) < 2500, `${sweep.hosts}`);
    assert.deepEqual([sweep.hits, sweep.tool], [50_000, 'masscan']);
    assert.match(sweep.evidence[0], /^port 23\/tcp of about \d+ decoys/);
  });

  test('three ports of many decoys are three sweeps, with the fourth they are parts of one block scan', () => {
    const sweep = (bed: TrackerBed, port: number): TrackerBed => {
      for (let first = 0; first < 300; first += 50)
        bed.take(
          probe(
            port / 10,
            attacker,
            times(50, (n) => `${host(first + n)}:${port}`),
          ),
        );
      return bed;
    };
    const bed = new TrackerBed();
    for (const port of [21, 22, 23]) assert.equal(sweep(bed, port).found('sweep').length, port - 20);
    sweep(bed, 80);
    const [block, ...others] = bed.found('block-scan');
    assert.equal(others.length, 0);
    assert.deepEqual([block.hosts, block.ports, block.hits, block.severity], [300, 4, 1200, 'medium']);
    assert.equal(bed.found('sweep').length, 3, 'the fourth was never told');
    for (const part of bed.found('sweep')) assert.ok(part.evidence.some((sentence) => sentence.includes(block.id)));
  });

  test('nmap over 256 decoys with a thousand ports each: one block scan and at most three parts', () => {
    const bed = new TrackerBed();
    for (let port = 1; port <= 1000; port += 1)
      for (let first = 0; first < 256; first += 64)
        bed.take(
          probe(
            port / 5,
            attacker,
            times(64, (n) => `${host(first + n)}:${port}`),
          ),
        );
    const [block] = bed.found('block-scan');
    assert.deepEqual([block.hosts, block.ports, block.hits], [256, 1000, 256_000]);
    assert.ok(bed.found().length <= 4, bed.summary());
  });

  test('49 ports of decoys that make neither are nothing, 50 are a block scan', () => {
    const at = (index: number): string => `${host(index % 10)}:${100 + index}`;
    const bed = new TrackerBed();
    for (const index of times(49, (n) => n)) bed.take(session(index, attacker, at(index)));
    assert.equal(bed.summary(), '');
    bed.take(session(49, attacker, at(49)));
    const [block] = bed.found();
    assert.deepEqual([block.behaviour, block.hosts, block.ports, block.hits], ['block-scan', 10, 50, 50]);
  });
});

describe('slow scans', () => {
  test('a port every five hours for three days', () => {
    const bed = new TrackerBed();
    for (const index of times(14, (n) => n)) bed.take(session(index * 5 * 3600, attacker, `10.66.0.9:${1000 + index}`));
    assert.equal(bed.summary(), '');
    bed.take(session(14 * 5 * 3600, attacker, '10.66.0.9:2000'));
    const [slow] = bed.found();
    assert.deepEqual([slow.behaviour, slow.ports, slow.hits], ['slow-scan', 15, 15]);
    assert.match(slow.evidence[0], /15 ports of the decoy 10\.66\.0\.9 in 2 d 22 h, .*in 7 d, and not in 5 min/);
    for (const index of times(10, (n) => n)) bed.take(session((15 + index) * 5 * 3600, attacker, `10.66.0.9:${3000 + index}`));
    assert.deepEqual(
      bed.found().map(({ behaviour, ports }) => [behaviour, ports]),
      [['slow-scan', 25]],
    );
  });

  test('a decoy an hour at one port', () => {
    const bed = new TrackerBed();
    for (const index of times(25, (n) => n)) bed.take(session(index * 3600, attacker, `${host(index)}:22`));
    const [slow] = bed.found();
    assert.deepEqual([slow.behaviour, slow.hosts, slow.port], ['slow-scan', 25, 22]);
  });

  test('what is spread over more than the window is nothing', () => {
    const bed = new TrackerBed();
    for (const index of times(40, (n) => n)) bed.take(session(index * 13 * 3600, attacker, `10.66.0.9:${1000 + index}`));
    assert.equal(bed.summary(), '');
  });

  test('among 20,000 other sources', () => {
    const bed = new TrackerBed({ sources: 2000 });
    for (const index of times(20, (n) => n)) {
      bed.take(session(index * 3600, attacker, `10.66.0.9:${1000 + index}`));
      for (const other of times(1000, (n) => n))
        bed.take(
          session(
            index * 3600 + other,
            `203.0.${(index * 4) % 256}.${other % 256}`.replace('0', String(other >> 8)),
            '10.66.0.9:23',
          ),
        );
    }
    assert.equal(bed.found('slow-scan').filter(({ source }) => source === attacker).length, 1);
    assert.ok(bed.tracker.counters().evicted > 0);
    assert.ok(bed.tracker.counters().sources <= 2000);
  });
});

describe('what is no scan', () => {
  test('1,000 clients of one port of one decoy', () => {
    const bed = new TrackerBed();
    for (const index of times(1000, (n) => n))
      bed.take(
        session(
          index / 10,
          `192.0.${index >> 8}.${index & 255}`,
          '10.66.0.9:443',
          'GET / HTTP/1.1\r\n\r\n',
          {},
          'HTTP/1.1 200 OK\r\n\r\n',
        ),
      );
    assert.equal(bed.summary(), '');
  });

  test('one client that comes again and again to one port', () => {
    const bed = new TrackerBed();
    for (const index of times(5000, (n) => n)) bed.take(session(index * 2, attacker, '10.66.0.9:443', 'hello'));
    assert.equal(bed.summary(), 'repeated-access 1');
    const [again] = bed.found();
    assert.deepEqual([again.hits, again.ports, again.hosts, again.severity], [5000, 1, 1, 'info']);
  });

  test('a client of ten services of one machine, all day', () => {
    const bed = new TrackerBed();
    for (const index of times(480, (n) => n)) bed.take(session(index * 180, attacker, `10.66.0.9:${100 + (index % 10)}`, 'x'));
    assert.equal(bed.summary(), '');
  });
});
