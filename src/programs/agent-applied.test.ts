// Whatever an agent has to say of its ports, one line of the control stream holds it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAgentMessage } from '../relay/link/link-messages.ts';
import { linkServerLimits } from '../relay/link/link-server-options.ts';
import { renderApplied } from './agent-applied.ts';

test('60,000 refused ports with long reasons fit a control line, and the rest is counted', () => {
  for (const why of ['EADDRINUSE on 192.0.2.1', 'é"\\'.repeat(500), '\u{1f600}'.repeat(500)]) {
    const refused = Array.from({ length: 60_000 }, (_, port) => ({ transport: 'tcp' as const, port, why }));
    const addresses = Array.from({ length: 5000 }, () => '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff');
    const line = JSON.stringify(renderApplied('0123456789ab', refused, addresses));
    assert.ok(Buffer.byteLength(line) < linkServerLimits.controlLineBytes, `${Buffer.byteLength(line)} bytes`);
    const read = parseAgentMessage(line);
    assert.ok(read?.kind === 'applied');
    assert.equal(read.refused.at(-1)?.why, `and ${60_000 - read.refused.length + 1} more`);
  }
});

test('few are told as they are', () => {
  const refused = [{ transport: 'udp' as const, port: 53, why: 'EACCES' }];
  assert.deepEqual(renderApplied('0123456789ab', refused, ['192.0.2.1']).refused, refused);
});
