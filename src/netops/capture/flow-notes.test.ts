// What is written beside packets never keeps one from being kept.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { frameOf, tcpBits, tcpPacket } from '../../../test/support/capture-file.ts';
import { WeirError } from '../../base/errors.ts';
import { FlowNotes } from './flow-notes.ts';
import { viewPacket } from './packet-view.ts';
import { SocketHolders } from './socket-holders.ts';

test('sockets that cannot be read are no remark, and no error; they are told as not measured', () => {
  const holders = new SocketHolders('/nonexistent/netns');
  const notes = new FlowNotes((ends) => holders.describe(ends));
  const packet = tcpPacket({ from: '10.0.0.1', to: '10.0.0.2', fromPort: 4000, toPort: 80, flags: tcpBits.syn, sequence: 1 });
  const frame = frameOf(packet, 1);
  const key = { source: '10.0.0.1', sourcePort: 4000, destination: '10.0.0.2', destinationPort: 80, transport: 'tcp' };
  notes.addSession({ id: 's1', ...key });
  assert.deepEqual(notes.commentsOf(viewPacket(frame, 0, frame.length, 1)), ['weir session s1']);
  assert.match(notes.notMeasured.join(), /^processes of some flows, the first at 20\d\d-[^ ]+Z: .*nonexistent/);
});

test('from when on nobody could be asked whose flows are is told, once', () => {
  const answers: (string | Error)[] = [
    'process a, pid 1, uid 0',
    new WeirError('timeout', 'no answer in time: holder'),
    new WeirError('timeout', 'the second'),
    new WeirError('not-running', 'the other half is gone (EPIPE)'),
    'nobody asks any more',
  ];
  let seconds = 0;
  const notes = new FlowNotes(
    () => {
      const answer = answers.shift();
      if (answer instanceof Error) throw answer;
      return answer;
    },
    () => {
      seconds += 1;
      return 1_700_000_000e6 + seconds * 1e6;
    },
  );
  const flow = (fromPort: number): string[] => {
    const packet = tcpPacket({ from: '10.0.0.1', to: '10.0.0.2', fromPort, toPort: 80, flags: tcpBits.syn, sequence: 1 });
    const frame = frameOf(packet, 1);
    return notes.commentsOf(viewPacket(frame, 0, frame.length, 1));
  };
  assert.deepEqual([flow(4000), notes.notMeasured], [['process a, pid 1, uid 0'], []]);
  for (const port of [4001, 4002, 4003, 4004, 4005]) assert.deepEqual(flow(port), []);
  assert.deepEqual(notes.notMeasured, [
    'processes of some flows, the first at 2023-11-14T22:13:21.000000Z: no answer in time: holder',
    'processes from 2023-11-14T22:13:23.000000Z on: the half that keeps root is gone',
  ]);
  assert.equal(answers.length, 1);
});
