// Netlink messages: what is written is read back, and bytes of any kind are read without a fault.

import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  attribute,
  joinBytes,
  longIn,
  longOf,
  nested,
  netWordOf,
  parseAttributes,
  parseMessages,
  renderMessage,
  textIn,
  textOf,
  wordIn,
  wordOf,
} from './netlink-message.ts';

const bytes = fc.uint8Array({ maxLength: 40 });

test('messages and attributes of any length come back as they were written', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(60_000), fc.nat(60_000), fc.array(fc.tuple(fc.integer({ min: 1, max: 0x3ff }), bytes))), {
        maxLength: 5,
      }),
      (messages) => {
        const header = new Uint8Array(16);
        const written = joinBytes(
          messages.map(([type, sequence, parts]) =>
            renderMessage(type, 5, sequence, [header, ...parts.map(([kind, value]) => attribute(kind, value))]),
          ),
        );
        const read = parseMessages(written);
        assert.deepEqual(
          read.map(({ type, flags, sequence }) => [type, flags, sequence]),
          messages.map(([type, sequence]) => [type, 5, sequence]),
        );
        for (const [index, [, , parts]] of messages.entries()) {
          const wanted = new Map(parts);
          const found = parseAttributes(read[index].body.subarray(16));
          assert.deepEqual([...found.keys()].sort(), [...wanted.keys()].sort());
          for (const [kind, value] of wanted) assert.deepEqual(Uint8Array.from(found.get(kind) ?? []), value);
        }
      },
    ),
  );
});

test('nested attributes, numbers and text', () => {
  const outer = parseAttributes(nested(18, [attribute(1, textOf('vxlan')), nested(2, [attribute(1, longOf(4_000_000_000))])]));
  const inner = parseAttributes(outer.get(18) ?? new Uint8Array(0));
  assert.equal(textIn(inner.get(1)), 'vxlan');
  assert.equal(longIn(parseAttributes(inner.get(2) ?? new Uint8Array(0)).get(1)), 4_000_000_000);
  assert.equal(wordIn(wordOf(4094)), 4094);
  assert.deepEqual([...netWordOf(4789)], [0x12, 0xb5]);
  assert.deepEqual([longIn(undefined), longIn(new Uint8Array(3)), wordIn(undefined), textIn(undefined)], [0, 0, 0, '']);
});

test('anything else is read as far as it makes sense', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => {
      for (const { body } of parseMessages(noise)) for (const value of parseAttributes(body).values()) textIn(value);
      parseAttributes(noise);
    }),
  );
  const cut = renderMessage(16, 0, 1, [new Uint8Array(16), attribute(3, textOf('lan'))]).subarray(0, 30);
  assert.deepEqual(parseMessages(cut), []);
});
