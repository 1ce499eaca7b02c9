// What conditions read: a column that is named is unpacked for every row, whatever comes of it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRange } from '../model/address.ts';
import { Conditions } from './duckdb-query.ts';

const ranges = (...texts: string[]) => texts.map((text) => parseRange(text) ?? assert.fail(text));

test('decoys of IPv4 are found without the column of numbers', () => {
  const [condition] = new Conditions().decoys(ranges('10.66.1.0/24', '192.0.2.7'), 'destination');
  assert.doesNotMatch(condition, /destination_key/);
  const [other] = new Conditions().decoys(ranges('2001:db8::/32'), 'destination');
  assert.match(other, /destination_key/);
});
