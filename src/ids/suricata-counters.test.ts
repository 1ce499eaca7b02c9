// Suricata's own counters, as it says them, as something else might, and over its restarts.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseBounds, parseRuleCounts, RestartingCounts } from './suricata-counters.ts';

test('rules: how many, and the first that failed by the file its user knows', () => {
  const stats = [{ id: 0, rules_loaded: 30, rules_failed: 1, rules_skipped: 0 }];
  const failures = [{ tenant_id: 0, rule: 'alert tcp any \u001b[31m', filename: '/run/weir-a.ids/rules/003-own.rules', line: 2 }];
  const { firstFailed, ...counts } = parseRuleCounts(stats, failures) ?? assert.fail();
  assert.deepEqual(counts, { loaded: 30, failed: 1 });
  assert.match(firstFailed ?? '', /^own\.rules:2: alert tcp any/);
  assert.ok(!firstFailed?.includes('\u001b'));
  assert.deepEqual(parseRuleCounts([{ rules_loaded: 30, rules_failed: 0 }], failures), { loaded: 30, failed: 0 });
  assert.deepEqual(parseRuleCounts([{ rules_loaded: 1, rules_failed: 1 }], [{ rule: 7 }]), { loaded: 1, failed: 1 });
  for (const odd of [undefined, null, 'x', [], [null], [{ rules_loaded: '1', rules_failed: -1 }]])
    assert.equal(parseRuleCounts(odd, odd), undefined);
});

test('bounds: what it counts, by name; anything else is nothing', () => {
  const answer = { tcp: { ssn_memcap_drop: 2, memuse: 9 }, flow: { memcap: 0 }, detect: { alert_queue_overflow: 5 } };
  assert.deepEqual(parseBounds(answer), {
    'connections it had no memory for': 2,
    'flows it had no memory for': 0,
    'alerts of one packet beyond what it tells': 5,
  });
  for (const odd of [undefined, null, [], 'tcp', { tcp: 4 }, { tcp: { ssn_memcap_drop: 'many' } }])
    assert.deepEqual(parseBounds(odd), {});
});

test('sums go on where a restarted Suricata begins at 0 again', () => {
  const counts = new RestartingCounts();
  counts.take({ a: 5, b: 0 });
  counts.take({ a: 7 });
  counts.take({});
  counts.take({ a: 2, b: 0 });
  assert.deepEqual(counts.sums(), { a: 9 });
});
