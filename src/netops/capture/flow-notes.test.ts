// What is written beside packets never keeps one from being kept.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { frameOf, tcpBits, tcpPacket } from '../../../test/support/capture-file.ts';
import { FlowNotes } from './flow-notes.ts';
import { viewPacket } from './packet-view.ts';
import { SocketHolders } from './socket-holders.ts';

test('sockets that cannot be read are no remark, and no error', () => {
  const holders = new SocketHolders('/nonexistent/netns');
  const notes = new FlowNotes((ends) => holders.describe(ends));
  const packet = tcpPacket({ from: '10.0.0.1', to: '10.0.0.2', fromPort: 4000, toPort: 80, flags: tcpBits.syn, sequence: 1 });
  const frame = frameOf(packet, 1);
  const key = { source: '10.0.0.1', sourcePort: 4000, destination: '10.0.0.2', destinationPort: 80, transport: 'tcp' };
  notes.addSession({ id: 's1', ...key });
  assert.deepEqual(notes.commentsOf(viewPacket(frame, 0, frame.length, 1)), ['weir session s1']);
});
