// What a report says first: whom it puts first and why, and that its sentences say the report's own figures.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { sampleReport } from '../../../test/support/sample-report.ts';
import { parseAddress, rangeHolds } from '../../model/address.ts';
import { briefReport, planSuspects, privateRanges } from './brief-report.ts';
import type { Report, ReportAttacker } from './report.ts';

const attacker = (source: string, more: Partial<ReportAttacker> = {}): ReportAttacker => ({
  ...sampleReport.attackers[0],
  source,
  hits: 10,
  ports: 1,
  destinations: 1,
  behaviours: ['sweep'],
  tools: [],
  signatures: [],
  ...more,
});

const say = (more: Partial<Omit<Report, 'brief'>>) => briefReport({ ...sampleReport, ...more }, []);

describe('whom to look at first', () => {
  it('puts machines inside before all, then attacks, then variety; research scanners last', () => {
    const order = planSuspects(
      [attacker('10.1.1.1', { behaviours: [] })],
      [
        attacker('192.0.2.1', { behaviours: ['research-scanner', 'exploitation'], hits: 1e6 }),
        attacker('192.0.2.2', { behaviours: ['sweep', 'port-scan', 'slow-scan'], hits: 1e6 }),
        attacker('192.0.2.3', { behaviours: ['exploitation'] }),
        attacker('192.0.2.4', { behaviours: ['brute-force', 'sweep'] }),
        attacker('192.0.2.5', { behaviours: [], hits: 1e9 }),
        attacker('10.1.1.1', { behaviours: [] }),
      ],
    );
    assert.deepEqual(
      order.map(({ source }) => source),
      ['10.1.1.1', '192.0.2.4', '192.0.2.3', '192.0.2.2', '192.0.2.1'],
    );
    assert.deepEqual(
      order.map(({ inside }) => inside),
      [true, false, false, false, false],
    );
    assert.match(order[0].reasons[0], /private/);
  });

  it('is the same whatever the order they came in, and never more than eight', () => {
    const many = Array.from({ length: 30 }, (_, index) => attacker(`192.0.2.${index}`));
    assert.deepEqual(planSuspects([], many), planSuspects([], [...many].reverse()));
    assert.equal(planSuspects([], many).length, 8);
  });

  it('says why with the figures of the source, and cuts long lists', () => {
    const [first] = planSuspects(
      [],
      [
        attacker('192.0.2.1', {
          behaviours: ['block-scan', 'exploitation'],
          signatures: ['a', 'b', 'c', 'd', 'e'],
          ports: 3,
          destinations: 7,
        }),
      ],
    );
    assert.deepEqual(first.reasons, [
      'block scan, exploitation',
      'matched 5 signatures: a, b, c and 2 more',
      'touched 3 ports of 7 decoys',
    ]);
  });

  it('knows which addresses are of one’s own networks', () => {
    const inside = (text: string): boolean => {
      const address = parseAddress(text) ?? assert.fail(text);
      return privateRanges.some((range) => rangeHolds(range, address));
    };
    for (const own of [
      '10.0.0.0',
      '10.255.255.255',
      '172.16.0.1',
      '172.31.255.255',
      '192.168.9.9',
      '169.254.1.1',
      'fd00::1',
      'fe80::1',
    ])
      assert.ok(inside(own), own);
    for (const other of [
      '9.255.255.255',
      '11.0.0.0',
      '172.15.0.1',
      '172.32.0.0',
      '192.169.0.1',
      '198.51.100.1',
      '2001:db8::1',
      'fec0::1',
    ])
      assert.ok(!inside(other), other);
  });
});

describe('in short', () => {
  it('says the figures of the report', () => {
    const { sentences } = say({});
    assert.match(
      sentences[0],
      /^4,900 sources from 61 countries made 812,400 sessions and sent 1,385,912 probe packets; .* 91\.0 MB\.$/,
    );
    assert.equal(
      sentences[1],
      'Never seen before 2026-11-21 00:00, when the last report ended: 312 sources, 61 ports, 1 country, 1 signature, 1 payload family, 1 URL.',
    );
    const most = sampleReport.days.reduce((busiest, day) => (day.hits > busiest.hits ? day : busiest));
    assert.ok(sentences[2].includes(`${most.start.slice(0, 10)} with ${most.hits.toLocaleString('en-US')} hits`));
    assert.match(
      sentences[3],
      /^445\/tcp \(smb\) had most hits \(90,000 by 300 sources\), 23\/tcp \(telnet\) most sources \(1,400\)\.$/,
    );
    assert.equal(sentences[4], 'Seen most: silent opener by 1,300 sources, sweep by 820 sources, port scan by 290 sources.');
    assert.match(sentences[5], /telnet-busybox-dropper: 9,000 times by 610 sources/);
    assert.match(sentences[6], /^2 campaigns were found; the largest, with 40,000 hits: Telnet busybox dropper from AS64500\.$/);
  });

  it('says nothing of what is not there', () => {
    const empty = say({
      totals: { ...sampleReport.totals, hits: 0, alerts: 0, inside: 0 },
      urls: [],
      credentials: [],
      news: { ...sampleReport.news, because: 'first' },
    });
    assert.deepEqual(empty, { sentences: ['Nothing was recorded in this time.'], actions: [], suspects: [] });
    const first = say({ news: { ...sampleReport.news, because: 'first' }, campaigns: [], behaviours: [], signatures: [] });
    assert.ok(first.sentences.includes('Nothing was recorded before this time: all of it is new.'));
    assert.ok(!first.sentences.some((sentence) => /campaign|Seen most|signature/.test(sentence)));
    assert.ok(!first.actions.some((action) => action.includes('first time')));
    const one = say({ totals: { ...sampleReport.totals, sources: 1, sessions: 1, probes: 0, countries: 0, bytesIn: 7 } });
    assert.equal(one.sentences[0], '1 source made 1 session; decoys were told 7 B.');
  });
});

describe('what to do', () => {
  it('begins with own machines, names them, and counts those it does not name', () => {
    const suspects = planSuspects(
      ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4'].map((source) => attacker(source)),
      [attacker('192.0.2.9', { behaviours: ['exploitation'] })],
    );
    const { actions } = briefReport({ ...sampleReport, totals: { ...sampleReport.totals, inside: 12 } }, suspects);
    assert.match(actions[0], /^Find 12 machines of your own networks \(10\.0\.0\.1, 10\.0\.0\.2, 10\.0\.0\.3 and 9 more\)/);
    assert.equal(actions[1], 'Read the 3 alerts of this time: weir alerts --since 2026-11-08.');
    assert.equal(actions[2], 'Look at 192.0.2.9: weir attacker 192.0.2.9.');
    assert.match(actions[3], /matched for the first time: hadoop-yarn-new-application\.$/);
  });
});
