// What is said about a kernel that is, or is not, as it was left.

import assert from 'node:assert/strict';
import test from 'node:test';
import type { NetworkState } from './desired-state.ts';
import { type DriftInput, describeDrift } from './drift.ts';

const nothing: DriftInput = {
  desired: { macLinks: [], sysctls: [], groups: [], personas: [] } as unknown as NetworkState,
  expectedListing: '',
  listing: '',
  expectedRoutes: [],
  routes: [],
  claims: { add: [], remove: [] },
  links: [],
  sysctls: {},
};
const listing = 'table inet weir {\n\tchain divert {\n\t\taccept\n\t}\n}\n';

test('where all decoys are in segments, no tables are missed in the machine itself', () => {
  assert.deepEqual(describeDrift(nothing), []);
});

test('tables that are gone, and tables that nobody of ours made, are told', () => {
  assert.deepEqual(describeDrift({ ...nothing, expectedListing: listing }), ['the nft tables named weir are gone']);
  assert.deepEqual(describeDrift({ ...nothing, expectedListing: listing, listing }), []);
  assert.match(describeDrift({ ...nothing, listing }).join(), /not ours/);
});
