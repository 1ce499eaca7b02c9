// What is said of RSTs that were sent and not seen: all that may be why, loss of our own with it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findingOfUnseen } from './reset-finding.ts';

const sent = {
  kind: 'reset-sent',
  at: 1,
  comm: 'nginx',
  pid: 12,
  inTask: true,
  source: { ip: '10.0.0.2', port: 80 },
  destination: { ip: '10.0.0.1', port: 4000 },
} as const;

test('a RST nobody saw may be one the capture had no room for', () => {
  const words = (lost: number): string => findingOfUnseen(sent, lost)?.evidence.at(-1)?.text ?? '';
  assert.match(words(7), /a rule dropped it .* not listened on, or it is among 7 packets there was no room for$/);
  assert.doesNotMatch(words(0), /no room/);
  assert.equal(findingOfUnseen({ ...sent, source: undefined as never }, 0), undefined);
});
