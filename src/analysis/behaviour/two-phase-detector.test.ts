// Both phases of stateless scanners are one event; scanners that say who they are; exploits gathered by source.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  attacker,
  knownScanners,
  probe,
  secondsOf,
  session,
  syns,
  TrackerBed,
  times,
} from '../../../test/support/behaviour-bed.ts';
import type { SignatureHit } from '../../model/insight.ts';
import type { SynDetails } from '../../model/session.ts';
import { FirstPhases, irregularities, irregularityWords } from './first-phases.ts';
import { hostNumber } from './touch.ts';

const decoy = '10.66.0.9';
const request = 'GET / HTTP/1.0\r\n\r\n';

describe('two-phase scans', () => {
  test('a ZMap SYN, four minutes later a handshake with a payload: one event that names both', () => {
    const first = probe(0, attacker, ['10.66.0.8:80', `${decoy}:80`], { syn: syns.zmap, probeKind: 'half-open' });
    const second = session(250, attacker, `${decoy}:80`, request, { syn: syns.linux });
    const bed = new TrackerBed().take(first).take(second);
    const [both, ...others] = bed.found();
    assert.equal(others.length, 0);
    assert.ok(first.kind === 'probe' && second.kind === 'session');
    assert.deepEqual(both.records, [first.probe.id, second.session.id]);
    assert.deepEqual([both.behaviour, both.tool, both.port, both.destination], ['two-phase-scan', 'ZMap', 80, decoy]);
    assert.deepEqual([both.start, both.end, both.hits, both.confidence], [secondsOf(0), secondsOf(250), 2, 'certain']);
    const words = both.evidence.join(' ');
    assert.match(
      words,
      /no TCP options, TTL 242, IP id 54321 as ZMap writes it\. After 4 min 10 s session \S+ brought 18 bytes from an ordinary stack/,
    );
  });

  const cases: readonly (readonly [string, () => TrackerBed])[] = [
    ['another port', () => begun().take(session(250, attacker, `${decoy}:81`, request))],
    ['another decoy', () => begun().take(session(250, attacker, '10.66.0.10:80', request))],
    ['another source', () => begun().take(session(250, '198.51.100.8', `${decoy}:80`, request))],
    ['nothing said', () => begun().take(session(250, attacker, `${decoy}:80`))],
    ['an hour and a second later', () => begun().take(session(3601, attacker, `${decoy}:80`, request))],
    ['before the SYN', () => begun().take(session(-1, attacker, `${decoy}:80`, request))],
    ['a handshake without a stack too', () => begun().take(session(250, attacker, `${decoy}:80`, request, { syn: syns.zmap }))],
    [
      'an ordinary SYN before',
      () =>
        new TrackerBed()
          .take(probe(0, attacker, [`${decoy}:80`], { syn: syns.linux }))
          .take(session(250, attacker, `${decoy}:80`, request)),
    ],
  ];
  const begun = (): TrackerBed => new TrackerBed().take(probe(0, attacker, [`${decoy}:80`], { syn: syns.zmap }));
  for (const [why, run] of cases) test(`none: ${why}`, () => assert.equal(run().found('two-phase-scan').length, 0));

  test('an hour to the second is one', () =>
    assert.equal(
      begun()
        .take(session(3600, attacker, `${decoy}:80`, request))
        .found('two-phase-scan').length,
      1,
    ));

  test('a whole campaign is one verdict for a port, beside its sweep', () => {
    const bed = new TrackerBed();
    const host = (index: number): string => `10.66.${1 + (index >> 8)}.${index & 255}`;
    for (let from = 0; from < 3000; from += 100)
      bed.take(
        probe(
          from / 100,
          attacker,
          times(100, (n) => `${host(from + n)}:23`),
          { syn: syns.zmap },
        ),
      );
    for (const index of times(60, (n) => n))
      bed.take(session(300 + index, attacker, `${host(index * 50)}:23`, 'hello', { syn: syns.linux }));
    assert.equal(bed.summary(), 'sweep 1, two-phase-scan 1');
    const [both] = bed.found('two-phase-scan');
    assert.deepEqual([both.hosts, both.hits], [60, 120]);
    assert.equal(both.records.length, 16);
  });

  test('what is irregular', () => {
    const wordsOf = (syn: SynDetails, destination: string): string[] => irregularityWords(irregularities(syn, destination));
    assert.deepEqual(wordsOf(syns.linux, decoy), []);
    assert.deepEqual(wordsOf({ ...syns.linux, ttl: 200 }, decoy), []);
    assert.deepEqual(wordsOf({ ...syns.linux, ttl: 201 }, decoy), ['TTL 201']);
    assert.deepEqual(wordsOf({ ...syns.linux, sequence: hostNumber(decoy) }, decoy), [
      'the destination as sequence number as Mirai writes it',
    ]);
    assert.deepEqual(wordsOf(syns.nmap, decoy), []);
  });

  test('the newest 4,096 targets of a source are kept, in bounded memory', () => {
    const phases = new FirstPhases();
    for (const index of times(10_000, (n) => n)) {
      const event = probe(index, attacker, []);
      if (event.kind === 'probe' && index % 50 === 0) phases.begin(event.probe, 1);
      phases.add(index);
    }
    assert.equal(phases.find(5000, secondsOf(20_000), 1e12), undefined);
    assert.equal(phases.find(9000, secondsOf(20_000), 1e12)?.at, secondsOf(9000));
    assert.ok(phases.byteLength < 310_000);
  });
});

describe('who says who it is', () => {
  const agent = (text: string): string => `GET / HTTP/1.1\r\nUser-Agent: ${text}\r\n\r\n`;

  test('a research scanner by its user agent, whatever the case, and by the TLS name it asks for', () => {
    const bed = new TrackerBed().take(
      session(0, attacker, `${decoy}:80`, agent('Mozilla/5.0 (compatible; CENSYSINSPECT/1.1; +https://about.censys.io/)')),
    );
    const [censys] = bed.found();
    assert.deepEqual(
      [censys.behaviour, censys.tool, censys.confidence, censys.severity],
      ['research-scanner', 'Censys', 'likely', 'info'],
    );
    assert.match(censys.evidence.join(' '), /says it is Censys.*Published: https:/);
    const tls = { version: 'TLS 1.3', serverName: 'scan.shadowserver.org', ja3: 'x', ja4: 'y' };
    assert.equal(new TrackerBed().take(session(0, attacker, `${decoy}:443`, '\u0016', { tls })).found()[0]?.tool, 'Shadowserver');
  });

  test('a crawler, a tool, nobody', () => {
    const crawl = new TrackerBed().take(
      session(0, attacker, `${decoy}:80`, agent('Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)')),
    );
    assert.deepEqual([crawl.summary(), crawl.found()[0].tool], ['crawler 1', 'Googlebot']);
    assert.equal(new TrackerBed().take(session(0, attacker, `${decoy}:80`, agent('gobuster/3.6'))).summary(), '');
    assert.equal(new TrackerBed().take(session(0, attacker, `${decoy}:80`, agent('Mozilla/5.0'))).summary(), '');
  });

  test('a text that has to be the beginning counts only there', () => {
    const view = (text: string) => ({ session: {} as never, input: Buffer.from(text), output: Buffer.alloc(0) });
    assert.equal(knownScanners.identify({}, view('SSH-2.0-Go\r\n'))?.name, 'a program in Go (SSH)');
    assert.equal(knownScanners.identify({}, view('GET /SSH-2.0-Go'))?.name, undefined);
  });
});

describe('exploits', () => {
  const hit = (rule: string, facts: Partial<SignatureHit> = {}): SignatureHit => ({
    rule,
    name: `The ${rule} hole`,
    intention: 'exploit',
    severity: 'high',
    tags: [],
    cves: ['CVE-2017-17215'],
    techniques: ['T1190'],
    captures: {},
    ...facts,
  });

  test('one match is enough; all of a source are one verdict that names the rules', () => {
    const bed = new TrackerBed();
    for (const index of times(30, (n) => n))
      bed.take(session(index, attacker, `10.66.0.${index}:80`, request), [
        hit(index < 20 ? 'one' : 'two', { severity: index < 20 ? 'medium' : 'high' }),
      ]);
    assert.equal(bed.found('exploitation').length, 1);
    const [verdict] = bed.found('exploitation');
    assert.deepEqual([verdict.hits, verdict.hosts, verdict.severity, verdict.cves], [30, 30, 'high', ['CVE-2017-17215']]);
    assert.match(verdict.evidence[0], /^30 sessions matched 2 signatures at port 80\/tcp of 30 decoys/);
    assert.match(verdict.evidence[1], /^The two hole \(two, CVE-2017-17215\): 10 sessions, first \S+ at 10\.66\.0\.20\.$/);
  });

  test('rules that only recognise are no exploit', () => {
    const bed = new TrackerBed().take(session(0, attacker, `${decoy}:80`, request), [hit('ping', { intention: 'recon' })]);
    assert.equal(bed.summary(), '');
  });
});
