// The other connection of a proxy is told by its bytes: the right one among many, with less certainty where others fit, and none where
// there is nothing to tell by.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { SocketEntry } from '../../kernel/machine/socket-diag.ts';
import { type Leg, LegTable } from './other-leg.ts';

const leg = (id: number, accepted: boolean, received: number, sent: number, inode = id): Leg => ({
  socket: { cookie: String(id), inode } as SocketEntry,
  fd: id,
  accepted,
  received,
  sent,
});

test('the one whose bytes are conserved, both ways', () => {
  const front = leg(1, true, 10_000, 900_000);
  const table = new LegTable([
    front,
    leg(2, false, 900_100, 10_200),
    leg(3, false, 10_000, 900_000),
    leg(4, true, 900_000, 10_000),
  ]);
  const other = table.other(front) ?? assert.fail();
  assert.equal(other.leg.fd, 2);
  assert.ok(other.score > 0.9 && other.score < 1);
  assert.match(other.join, /99 % of the bytes/);
  // From the other side the same.
  assert.equal(table.other(other.leg)?.leg.fd, 1);
});

test('of those that move the same, the one begun next to it, and that is said to be less sure', () => {
  const legs = [0, 1, 2, 3].flatMap((pair) => [
    leg(pair * 2 + 1, true, 500, 60_000, 1000 + pair * 100),
    leg(pair * 2 + 2, false, 60_000, 500, 1001 + pair * 100),
  ]);
  const other = new LegTable(legs).other(legs[4]) ?? assert.fail();
  assert.equal(other.leg.fd, 6);
  assert.ok(other.score > 0.7 && other.score < 0.85, String(other.score));
  assert.match(other.join, /3 more fit/);
});

test('nothing where bytes say nothing, unless there is only one', () => {
  const idle = leg(1, true, 3, 4);
  assert.equal(new LegTable([idle, leg(2, false, 4, 3), leg(3, false, 4, 3)]).other(idle), undefined);
  const only = new LegTable([idle, leg(2, false, 4, 3)]).other(idle) ?? assert.fail();
  assert.deepEqual([only.leg.fd, only.score < 0.5], [2, true]);
  const busy = leg(1, true, 10_000, 10_000);
  assert.equal(new LegTable([busy, leg(2, false, 100, 100), leg(3, false, 0, 10_000)]).other(busy), undefined);
});

test('among a thousand pairs of any sizes the partner is found, or one that moved as good as the same', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 1000, max: 1e9 }), fc.integer({ min: 1000, max: 1e9 })), {
        minLength: 1,
        maxLength: 1000,
      }),
      (sizes) => {
        const legs = sizes.flatMap(([up, down], index) => [
          leg(index * 2, true, up, down, index * 10),
          leg(index * 2 + 1, false, down, up, index * 10 + 1),
        ]);
        const table = new LegTable(legs);
        for (const front of legs.filter(({ accepted }) => accepted).slice(0, 20)) {
          const found = table.other(front)?.leg;
          assert.ok(found, 'a partner is there');
          const off = Math.abs(found.sent - front.received) + Math.abs(found.received - front.sent);
          assert.ok(found.fd === front.fd + 1 || off / (front.sent + front.received) < 0.25, `${found.fd} for ${front.fd}`);
        }
      },
    ),
    { numRuns: 30 },
  );
});
