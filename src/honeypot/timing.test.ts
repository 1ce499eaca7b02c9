// The structures that stand in for timers: order, removal, and that nothing removed is kept.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type Linked, RecencyList } from '../base/recency-list.ts';
import { DelayLine } from './delay-line.ts';
import { Inbox } from './inbox.ts';

describe('delay line', () => {
  test('falls due in order, once, and not when removed', () => {
    const line = new DelayLine<string>(100);
    line.add('a', 0);
    line.add('b', 10);
    line.add('c', 20);
    line.remove('b');
    line.add('a', 50);
    const out: string[] = [];
    line.due(119, (item) => out.push(item));
    assert.equal(out.length, 0);
    line.due(120, (item) => out.push(item));
    assert.deepEqual(out, ['c']);
    line.due(1000, (item) => out.push(item));
    assert.deepEqual(out, ['c', 'a']);
    assert.equal(line.length, 0);
  });

  test('what is added while taking waits its own time', () => {
    const line = new DelayLine<string>(100);
    line.add('a', 0);
    let taken = 0;
    line.due(100, () => {
      taken += 1;
      line.add('again', 100);
    });
    assert.equal(taken, 1);
    assert.equal(line.length, 1);
  });
});

describe('recency list', () => {
  test('keeps the order of an array that is searched', () => {
    const member = (id: number): Linked & { id: number } => ({ id, before: undefined, after: undefined, listed: false });
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(9), fc.boolean()), { maxLength: 100 }), (steps) => {
        const members = Array.from({ length: 10 }, (_, id) => member(id));
        const list = new RecencyList<(typeof members)[number]>();
        let model: number[] = [];
        for (const [id, add] of steps) {
          model = model.filter((other) => other !== id);
          if (add) {
            model.push(id);
            list.touch(members[id]);
          } else list.remove(members[id]);
          assert.equal(list.size, model.length);
          assert.equal(list.oldest?.id, model[0]);
          assert.deepEqual(
            [...list].map((each) => each.id),
            model,
          );
        }
      }),
    );
  });
});

describe('inbox', () => {
  test('is the bytes appended minus those consumed, and never changes what it gave out', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.uint8Array({ maxLength: 40 }), fc.nat(30)), { maxLength: 60 }), (steps) => {
        const inbox = new Inbox();
        let model = Buffer.alloc(0);
        const given: { view: Buffer; copy: Buffer }[] = [];
        for (const [bytes, used] of steps) {
          inbox.append(Buffer.from(bytes));
          model = Buffer.concat([model, bytes]);
          assert.ok(inbox.view.equals(model));
          given.push({ view: inbox.view, copy: Buffer.from(model) });
          inbox.consume(Math.min(used, model.length));
          model = model.subarray(Math.min(used, model.length));
          assert.equal(inbox.length, model.length);
        }
        for (const { view, copy } of given) assert.ok(view.equals(copy));
      }),
    );
  });
});
