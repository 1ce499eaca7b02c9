import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { allPorts, hasPort, noPorts, type PortRange, parsePorts, renderPorts, subtractPorts, unitePorts } from './port-set.ts';

/** Ranges that meet often. */
const near: fc.Arbitrary<PortRange[]> = fc.array(
  fc.tuple(fc.integer({ min: 1, max: 60 }), fc.nat(12)).map(([first, more]) => ({ first, last: first + more })),
  { maxLength: 10 },
);

const members = (ranges: readonly PortRange[]): number[] => {
  const found = new Set<number>();
  for (const { first, last } of ranges) for (let port = first; port <= last; port += 1) found.add(port);
  return [...found].sort((a, b) => a - b);
};

test('a set reads back from its text', () => {
  fc.assert(
    fc.property(near, (ranges) => {
      const set = unitePorts(ranges);
      fc.pre(set.length > 0);
      assert.deepEqual(parsePorts(renderPorts(set)), set);
    }),
  );
  assert.equal(renderPorts(allPorts), '1-65535');
  assert.equal(renderPorts(noPorts), '');
});

test('union, difference and membership agree with sets of numbers', () => {
  fc.assert(
    fc.property(near, near, (a, b) => {
      const [one, other] = [unitePorts(a), unitePorts(b)];
      assert.deepEqual(members(one), members(a));
      for (let index = 1; index < one.length; index += 1)
        assert.ok(one[index - 1].last + 1 < one[index].first, 'disjoint, not touching');
      const gone = new Set(members(other));
      const left = subtractPorts(one, other);
      assert.deepEqual(
        members(left),
        members(one).filter((port) => !gone.has(port)),
      );
      const inside = new Set(members(left));
      for (let port = 0; port <= 75; port += 1) assert.equal(hasPort(left, port), inside.has(port));
    }),
    { numRuns: 1000 },
  );
});

test('text that is no port is refused', () => {
  for (const text of ['', '0', '65536', '80-', '-80', '90-80', '80;81', 'http', '80,,81', '1e3', '0x50', '123456'])
    assert.equal(parsePorts(text), undefined, text);
  assert.deepEqual(parsePorts(' 22 , 80-81 '), [
    { first: 22, last: 22 },
    { first: 80, last: 81 },
  ]);
  assert.deepEqual(parsePorts('1-65535'), allPorts);
});
