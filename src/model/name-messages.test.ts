// DNS and NetBIOS messages: built here by hand after the RFCs, and hostile ones.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { dnsTypes, parseDnsQuery, renderDnsAnswer, renderName } from './dns-message.ts';
import { encodeNetbiosName, parseNetbiosQuestion, renderNetbiosAddress, renderNetbiosStatus } from './netbios-message.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

test('questions of RFC 1035, several with pointers backwards and the unicast bit of RFC 6762', () => {
  const query = hex(`1234 0100 0002 0000 0000 0000
    04 68 6f 73 74 05 6c 6f 63 61 6c 00 0001 8001
    05 6f 74 68 65 72 c0 11 001c 0001`);
  assert.deepEqual(parseDnsQuery(query), {
    id: 0x1234,
    operation: 0,
    records: 0,
    firstEnd: 28,
    questions: [
      { labels: ['host', 'local'], type: 1, class: 1, unicast: true },
      { labels: ['other', 'local'], type: 28, class: 1, unicast: false },
    ],
  });
});

test('pointers that lead forwards, to themselves or in circles, long names and answers are no queries', () => {
  const head = '1234 0100 0001 0000 0000 0000';
  for (const [why, body] of [
    ['to itself', 'c00c 0001 0001'],
    ['forwards', 'c012 0001 0001 0000 00'],
    ['into the header', '0161 c000 0001 0001'],
    ['cut', '0461 6263'],
    ['no end', '0161 0162 0163'],
    ['a reserved label type', '41 61 00 0001 0001'],
    ['256 bytes', `${`3f${'61'.repeat(63)}`.repeat(4)}00 0001 0001`],
  ] as const)
    assert.equal(parseDnsQuery(hex(`${head} ${body}`)), undefined, why);
  assert.equal(parseDnsQuery(hex('1234 8180 0001 0000 0000 0000 0161 00 0001 0001')), undefined, 'a response');
  assert.equal(parseDnsQuery(hex('1234 0100 0009 0000 0000 0000 0161 00 0001 0001')), undefined, 'nine questions');
});

test('hostile bytes never throw, and what parses is bounded', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 700 }), fc.boolean(), (bytes, shaped) => {
      const payload = Buffer.from(bytes);
      if (shaped && payload.length > 12) {
        payload[2] &= 0x7f;
        payload.writeUInt16BE(1 + (payload[0] & 7), 4);
      }
      for (const { labels } of parseDnsQuery(payload)?.questions ?? [])
        assert.ok(labels.reduce((sum, label) => sum + label.length + 1, 0) <= 255);
      parseNetbiosQuestion(payload);
    }),
    { numRuns: 3000 },
  );
});

test('an answer is what RFC 1035 draws: header, question, one record that points at the question', () => {
  const question = { labels: ['DC-1234', 'corp', 'local'], type: dnsTypes.a, class: 1, unicast: false };
  const record = { labels: ['dc-1234', 'corp', 'local'], type: dnsTypes.a, class: 1, ttlSeconds: 3600, data: hex('0a010065') };
  assert.deepEqual(
    renderDnsAnswer(0xbeef, 0x8580, [question], [record]),
    hex(`beef 8580 0001 0001 0000 0000
      07 44432d31323334 04 636f7270 05 6c6f63616c 00 0001 0001
      c00c 0001 0001 00000e10 0004 0a010065`),
  );
  assert.deepEqual(renderName(['a', 'x'.repeat(80)]), Buffer.concat([hex('0161 3f'), Buffer.alloc(63, 0x78), hex('00')]));
});

test('a node status question for everybody, as RFC 1002 and every scanner write it', () => {
  const wildcard = hex(`80f0 0010 0001 0000 0000 0000 20 ${'434b'}${'4141'.repeat(15)} 00 0021 0001`);
  assert.deepEqual(parseNetbiosQuestion(wildcard), { id: 0x80f0, name: '*', suffix: 0, kind: 'status' });
  const query = Buffer.concat([hex('0001 0110 0001 0000 0000 0000'), encodeNetbiosName('DESKTOP-4711', 0x20), hex('0020 0001')]);
  assert.deepEqual(parseNetbiosQuestion(query), { id: 1, name: 'DESKTOP-4711', suffix: 0x20, kind: 'name' });
  for (const [at, value] of [
    [2, 0x80],
    [2, 0x28],
    [5, 2],
    [7, 1],
    [12, 0x21],
    [13, 0x51],
    [45, 4],
    [47, 0x22],
    [49, 2],
  ]) {
    const broken = Buffer.from(query);
    broken[at] = value;
    assert.equal(parseNetbiosQuestion(broken), undefined, `byte ${at}`);
  }
});

test('a positive name answer and a node status answer, byte for byte', () => {
  const question = { id: 7, name: 'A', suffix: 0x20, kind: 'name' } as const;
  const encoded = `20 4542 ${'4341'.repeat(14)} 4341 00`;
  assert.deepEqual(
    renderNetbiosAddress(question, { family: 4, value: 0x0a01000an }),
    hex(`0007 8500 0000 0001 0000 0000 ${encoded} 0020 0001 000493e0 0006 0000 0a01000a`),
  );
  const spaces = (text: string): string => Buffer.from(text.padEnd(15)).toString('hex');
  const status = renderNetbiosStatus(
    { id: 7, name: '*', suffix: 0, kind: 'status' },
    'DiskStation-1234',
    hex('001122334455'),
    true,
  );
  assert.deepEqual(
    status,
    hex(`0007 8400 0000 0001 0000 0000 20 434b ${'4141'.repeat(15)} 00 0021 0001 00000000 0065 03
      ${spaces('DISKSTATION-123')} 00 0400
      ${spaces('WORKGROUP')} 00 8400
      ${spaces('DISKSTATION-123')} 20 0400
      001122334455 ${'00'.repeat(40)}`),
  );
});
