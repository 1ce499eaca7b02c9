// The matrix as a file: what was written is read back the same, and every mistake of a person is told with its line.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { WeirError } from '../../base/errors.ts';
import type { AccessMatrix, MatrixSource } from './access-matrix.ts';
import { parseMatrix, renderMatrix } from './matrix-file.ts';

const address = fc.oneof(
  fc.nat(0xffffffff).map((value) => ({ family: 4 as const, value: BigInt(value) })),
  fc.bigInt(0n, (1n << 128n) - 1n).map((value) => ({ family: 6 as const, value })),
);
const name = fc.oneof(
  fc.constantFrom('lan', 'yes', '10', 'internet eth0', '- a', '#x', 'a: b'),
  fc.string({ minLength: 1, maxLength: 12 }),
);

const matrix: fc.Arbitrary<AccessMatrix> = fc.uniqueArray(name, { minLength: 1, maxLength: 5 }).chain((names) =>
  fc.record({
    recordedAt: fc.nat(2 ** 31).map((seconds) => seconds * 1000),
    sources: fc.tuple(
      ...names.map((one) =>
        fc.record<MatrixSource>({
          name: fc.constant(one),
          netns: fc.constantFrom('', 'web'),
          device: fc.constantFrom('eth0', 'br-0'),
          addresses: fc.array(address, { minLength: 1, maxLength: 3 }),
        }),
      ),
    ),
    rows: fc.array(
      fc.record({
        transport: fc.constantFrom('tcp' as const, 'udp' as const),
        address,
        port: fc.integer({ min: 1, max: 65_535 }),
        service: fc.constantFrom('nginx', 'null', '12'),
        reach: fc.constant(names.slice(0, 1)),
        refuse: fc.constant(names.slice(1, 2)),
        unknown: fc.constant(names.slice(2)),
      }),
      { maxLength: 5 },
    ),
  }),
);

const mistakesOf = (text: string): string[] => {
  try {
    parseMatrix(text, 'access.yaml');
  } catch (error) {
    assert.ok(error instanceof WeirError && error.code === 'config-invalid', String(error));
    return (error.details.mistakes as { line: number; mistake: string }[]).map(({ line, mistake }) => `${line}: ${mistake}`);
  }
  return [];
};

describe('the access matrix as a file', () => {
  it('is read back as it was written, whatever the names', () => {
    fc.assert(
      fc.property(matrix, (given) => {
        assert.deepEqual(parseMatrix(renderMatrix(given), 'access.yaml'), structuredClone(given));
      }),
      { numRuns: 200 },
    );
  });

  it('tells mistakes with their lines', () => {
    const text = [
      'version: 1',
      'sources:',
      '  - { name: lan, device: eth0, addresses: [10.0.0.7] }',
      '  - { name: lan, device: eth0, addresses: [10.0.0.300] }',
      'access:',
      '  - { to: "10.0.0.1:99999", protocol: tcp, reach: [lan] }',
      '  - { to: "10.0.0.1:80", protocol: tcp, reach: [lan], refuse: [lan] }',
      '  - { to: "10.0.0.1:81", protcol: tcp, reach: [wan] }',
    ];
    assert.deepEqual(mistakesOf(text.join('\n')), [
      '4: 10.0.0.300 is no address',
      '4: source lan is here twice',
      '6: a row has no target',
      '7: lan is under reach as well',
      '8: unknown key `protcol`',
      '8: there is no source wan',
    ]);
    assert.match(mistakesOf('sources: 7\n').join(), /no baseline of version 1.*sources is no list/);
    assert.equal(mistakesOf('version: [').length, 1);
    assert.deepEqual(mistakesOf('version: 1\n'), []);
  });
});
