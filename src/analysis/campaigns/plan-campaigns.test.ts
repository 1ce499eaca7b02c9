// Campaigns are found among noise, and noise is none; reasons hold; the order of rows does not matter; nothing chains into a giant.

import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { type LabelledSource, labelledSources } from '../../../test/support/labelled-sources.ts';
import { Chance } from '../../../test/support/payload-parts.ts';
import { printable } from '../../base/printable.ts';
import type { Campaign } from '../../model/insight.ts';
import type { SourceFeatures } from '../../record/analysis-store.ts';
import { planCampaigns } from './plan-campaigns.ts';

const featuresOf = (labelled: readonly LabelledSource[]): SourceFeatures[] => labelled.map(({ features }) => features);

const row = (source: string, more: Partial<SourceFeatures> = {}): SourceFeatures => ({
  source,
  firstSeen: 1,
  lastSeen: 2,
  hits: 1,
  families: [],
  credentials: [],
  fingerprints: [],
  urls: [],
  halfHours: [],
  ...more,
});

/** Of all members shown: how many are of the campaign most of theirs are of. Of all real members: how many are found so. */
function judge(
  labelled: readonly LabelledSource[],
  campaigns: readonly Campaign[],
): { precision: number; recall: number; found: number } {
  const truth = new Map(labelled.map(({ features, campaign }) => [features.source, campaign]));
  const found = new Map<string, number>();
  let right = 0;
  let members = 0;
  for (const campaign of campaigns) {
    const counts = new Map<string, number>();
    for (const { source } of campaign.members) {
      const name = truth.get(source) ?? 'noise';
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    const [[main, most]] = [...counts].sort((a, b) => b[1] - a[1]);
    members += campaign.members.length;
    if (main === 'noise') continue;
    right += most;
    found.set(main, Math.max(found.get(main) ?? 0, most));
  }
  const real = labelled.filter(({ campaign }) => campaign !== undefined).length;
  return {
    precision: right / members,
    recall: [...found.values()].reduce((sum, count) => sum + count, 0) / real,
    found: found.size,
  };
}

for (const [noise, seed, least] of [
  [5000, 1, 0.97],
  [5000, 2, 0.97],
  [5000, 3, 0.97],
  [800, 1, 0.9],
  [800, 3, 0.9],
] as const)
  test(`twelve campaigns among ${noise} other sources, chance ${seed}`, (t) => {
    const labelled = labelledSources(noise, seed);
    const { precision, recall, found } = judge(labelled, planCampaigns(featuresOf(labelled)));
    t.diagnostic(`${found} found, precision ${(100 * precision).toFixed(1)} %, recall ${(100 * recall).toFixed(1)} %`);
    assert.equal(found, 12);
    assert.ok(precision >= least && recall >= least);
  });

test('noise alone is hardly ever a campaign', (t) => {
  const rows = featuresOf(labelledSources(5000, 77).filter(({ campaign }) => campaign === undefined));
  const campaigns = planCampaigns(rows);
  const members = campaigns.reduce((sum, { size }) => sum + size, 0);
  t.diagnostic(`${members} of 5000 sources`);
  assert.ok(members <= 25);
});

test('the order of rows changes nothing, nor does a row twice', () => {
  const rows = featuresOf(labelledSources(600, 5));
  const whole = planCampaigns(rows);
  assert.ok(whole.length >= 8);
  fc.assert(
    fc.property(fc.shuffledSubarray(rows, { minLength: rows.length }), (shuffled) => {
      assert.deepEqual(planCampaigns([...shuffled, ...shuffled.slice(0, 20)]), whole);
    }),
    { numRuns: 10 },
  );
});

test('the same campaign has the same name on another day, with other noise and other members', () => {
  const name = (campaigns: readonly Campaign[], host: string): string | undefined =>
    campaigns.find(({ bonds }) => bonds.some((bond) => bond.includes(host)))?.id;
  const before = planCampaigns(featuresOf(labelledSources(5000, 1)));
  const after = planCampaigns(featuresOf(labelledSources(3000, 2)));
  for (const host of ['c0.example', 'c1.example']) {
    assert.match(name(before, host) ?? '', /^[0-9a-f]{16}$/);
    assert.equal(name(before, host), name(after, host));
  }
});

test('reasons are there for every member, and their figures are true', () => {
  const rows = featuresOf(labelledSources(1500, 9));
  const bySource = new Map(rows.map((one) => [one.source, one]));
  const seen = new Set<string>();
  for (const { members, size, hits, start, end, id, label } of planCampaigns(rows)) {
    assert.ok(!seen.has(id));
    seen.add(id);
    assert.ok(size >= 3 && members.length === Math.min(size, 100) && hits >= size && start <= end && label !== '');
    for (const { source, reasons } of members) {
      assert.ok(reasons.length > 0 && reasons.length <= 6, source);
      assert.ok(!seen.has(source), 'in one campaign at most');
      seen.add(source);
      for (const reason of reasons) {
        const said = /^host (\S+): (\d+) of (\d+) members have it, and (\d+) of (\d+) other sources$/.exec(reason);
        if (!said) continue;
        const holders = rows.filter(({ urls }) => urls.some((url) => url.includes(`//${said[1]}/`))).length;
        assert.equal(Number(said[2]) + Number(said[4]), holders);
        assert.equal(Number(said[3]) + Number(said[5]), rows.length);
        assert.ok(bySource.get(source)?.urls.some((url) => url.includes(said[1])));
      }
    }
  }
});

test('a chain of likenesses does not become one campaign', () => {
  // Each neighbour pair of groups shares a host; nothing is shared by many.
  const rows: SourceFeatures[] = [];
  for (let link = 0; link < 60; link += 1)
    for (let member = 0; member < 4; member += 1)
      rows.push(row(`10.0.${link}.${member}`, { urls: [`http://h${link}.example/a`, `http://h${link + 1}.example/a`] }));
  const sizes = planCampaigns(rows).map(({ size }) => size);
  assert.ok(Math.max(...sizes) <= 16, `${sizes}`);
});

test('what half the Internet has binds nobody, and a single oddity nobody else', () => {
  const chance = new Chance(3);
  const rows = Array.from({ length: 1000 }, (_, number) =>
    row(`10.1.${number >> 8}.${number & 255}`, {
      families: ['everybody'],
      fingerprints: [number % 2 ? 'ja4:one' : 'ja4:other'],
      credentials: ['a:a', 'b:b', 'c:c', 'd:d', 'e:e', 'f:f', 'g:g'],
      urls: number % 2 ? ['http://popular.example/x'] : [`http://own${number}.example/`],
      halfHours: [100 + chance.number(40)],
    }),
  );
  assert.deepEqual(planCampaigns(rows), []);
  assert.deepEqual(planCampaigns([]), []);
  assert.deepEqual(planCampaigns(rows.slice(0, 2)), []);
});

test('ten thousand sources with much in common cost no more than the bound on the work', (t) => {
  const chance = new Chance(8);
  const rows = Array.from({ length: 10_500 }, (_, number) =>
    row(`10.${number >> 16}.${(number >> 8) & 255}.${number & 255}`, {
      hits: number,
      place: { ip: '', asn: chance.number(500) },
      families: Array.from({ length: 16 }, () => `f${chance.number(3000)}`),
      fingerprints: Array.from({ length: 6 }, () => `p${chance.number(500)}`),
      credentials: Array.from({ length: 24 }, () => `u:${chance.number(40)}`),
      urls: Array.from({ length: 10 }, () => `http://h${chance.number(2000)}.example/${chance.number(9)}`),
      halfHours: Array.from({ length: 16 }, () => chance.number(1000)).sort((a, b) => a - b),
    }),
  );
  const begun = process.cpuUsage();
  planCampaigns(rows);
  const { user } = process.cpuUsage(begun);
  t.diagnostic(`${Math.round(user / 1000)} ms`);
  assert.ok(user < 4_000_000);
});

const words = fc.constantFrom(
  'a',
  'b:c',
  'http://x.example/y',
  'http://[::1]/',
  '://',
  '\n',
  '\x1b[2J',
  '',
  'x'.repeat(5000),
  '@',
  'h:1',
);

test('any rows at all: no throw, nothing unsafe to show', () => {
  const any = fc.record({
    source: fc.constantFrom('1', '2', '3', '4', '5', '6'),
    firstSeen: fc.nat(9),
    lastSeen: fc.nat(9),
    hits: fc.nat(9),
    families: fc.array(words),
    credentials: fc.array(words),
    fingerprints: fc.array(words),
    urls: fc.array(words),
    ports: fc.array(words),
    halfHours: fc.array(fc.nat(5)),
  });
  fc.assert(
    fc.property(fc.array(any, { maxLength: 12 }), (rows) => {
      for (const { label, bonds, members } of planCampaigns(rows))
        for (const text of [label, ...bonds, ...members.flatMap(({ reasons }) => reasons)])
          assert.ok(text.length > 0 && text.length <= 500 && printable(text, 500) === text);
    }),
    { numRuns: 500 },
  );
});
