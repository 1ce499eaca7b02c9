// A source has the same number in the engine as here, or its lists would be lost: addresses of both families, with zones and
// mapped ones, and what is no address.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DuckDBInstance } from '@duckdb/node-api';
import { addressKey } from './duckdb-row.ts';
import { numberOf, sourceNumber } from './duckdb-source-number.ts';

test('numbers of sources are the engine’s, and differ', async () => {
  const sources = [
    '0.0.0.0',
    '192.0.2.1',
    '255.255.255.255',
    '::',
    '::1',
    '::ffff:192.0.2.1',
    'fe80::1',
    'fe80::1%eth0',
    'fe80::1%2',
    '192.0.2.1%a',
    'x',
    '',
  ];
  const instance = await DuckDBInstance.create(':memory:', { threads: '1' });
  const connection = await instance.connect();
  try {
    for (const source of sources) {
      const key = addressKey(source);
      const columns = `SELECT $1 AS source, ${key === null ? 'NULL' : `'${key}'`}::UHUGEINT AS source_key`;
      const reader = await connection.runAndReadAll(`SELECT ${numberOf} FROM (${columns})`, [source]);
      assert.equal(reader.getRowsJS()[0][0], sourceNumber(source), source);
    }
    assert.equal(new Set(sources.map(sourceNumber)).size, sources.length);
    assert.equal(sourceNumber('192.0.2.1'), 0xc0000201n);
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
});
