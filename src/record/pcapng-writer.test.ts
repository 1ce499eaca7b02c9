// Files of ours read back by our own reader and by tshark: packets, times, interfaces, comments, what was dropped.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { frameOf, udpPacket } from '../../test/support/capture-file.ts';
import { lacksProgram } from '../../test/support/namespace.ts';
import { type CapturedFrame, CaptureReader } from './importers/capture-reader.ts';
import { fillPacket, packetBytes, renderInterface, renderPacket, renderSection, renderStatistics } from './pcapng-writer.ts';

const at = 1_700_000_000_123_456;
const packet = udpPacket({ from: '10.0.0.1', to: '10.0.0.2' }, 'hello');
const file = Buffer.concat([
  renderSection('weir 1', ['made by a test, with äöü']),
  renderInterface({ name: 'eth0', linkType: 1, filter: 'udp' }),
  renderInterface({ name: 'tun0', linkType: 101 }),
  renderPacket({
    interface: 0,
    at,
    bytes: frameOf(packet, 1),
    wireLength: 1500,
    outgoing: true,
    comments: ['weir session 7', 'sshd, pid 5'],
  }),
  renderPacket({ interface: 1, at: at + 1, bytes: packet, wireLength: packet.length }),
  renderStatistics(0, at + 2, 10, 3),
]);

test('into room that is there it is byte for byte the same', () => {
  for (const length of [1, 2, 3, 4, 61, 64])
    for (const outgoing of [undefined, true, false]) {
      const one = {
        interface: 3,
        at,
        bytes: Buffer.alloc(length, 7),
        wireLength: 99,
        ...(outgoing === undefined ? {} : { outgoing }),
      };
      const room = Buffer.alloc(200, 0xee);
      fillPacket(room, 5, one);
      const size = packetBytes(length, outgoing !== undefined);
      assert.deepEqual(room.subarray(5, 5 + size), renderPacket(one));
      assert.equal(room[5 + size], 0xee);
    }
});

test('our own reader reads what was written', () => {
  const frames: Pick<CapturedFrame, 'linkType' | 'at' | 'cut' | 'wireLength'>[] = [];
  const reader = new CaptureReader(
    {
      frame: ({ linkType, at: when, cut, wireLength, bytes, start, end }) => {
        frames.push({ linkType, at: when, cut, wireLength });
        assert.ok(bytes.subarray(start, end).equals(linkType === 1 ? frameOf(packet, 1) : packet));
      },
      bad: (why) => assert.fail(why),
    },
    0,
  );
  for (let from = 0; from < file.length; from += 7) reader.push(file.subarray(from, from + 7));
  reader.finish();
  assert.deepEqual(frames, [
    { linkType: 1, at, cut: true, wireLength: 1500 },
    { linkType: 101, at: at + 1, cut: false, wireLength: packet.length },
  ]);
});

test('tshark reads it too, comments and all', { skip: lacksProgram('tshark', 'tshark') }, () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'weir-pcapng-'));
  try {
    const name = path.join(directory, 'a.pcapng');
    writeFileSync(name, file);
    const fields = ['frame.time_epoch', 'frame.interface_name', 'frame.comment', 'frame.len', 'udp.dstport'];
    const text = execFileSync(
      'tshark',
      ['-r', name, '-T', 'fields', ...fields.flatMap((field) => ['-e', field]), '-E', 'separator=|'],
      {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    );
    const [first, second] = text.split('\n');
    assert.match(first, /^1700000000\.123456000\|eth0\|weir session 7.*sshd, pid 5\|1500\|53$/);
    assert.match(second, new RegExp(`^1700000000\\.123457000\\|tun0\\|\\|${packet.length}\\|53$`));
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('times that cannot be are said by the reader, and written as the first there is', () => {
  const bad: string[] = [];
  const times: number[] = [];
  const read = (bytes: Buffer): void => {
    const reader = new CaptureReader({ frame: ({ at: seen }) => times.push(seen), bad: (why) => bad.push(why) }, 0);
    reader.push(bytes);
    reader.finish();
  };
  const one = { interface: 0, bytes: packet, wireLength: packet.length };
  const head = [renderSection('weir 1'), renderInterface({ name: 'tun0', linkType: 101 })];
  const late = renderPacket({ ...one, at });
  late.writeUInt32LE(0xffffffff, 12);
  read(Buffer.concat([...head, late, renderPacket({ ...one, at: -5 }), renderPacket({ ...one, at })]));
  assert.deepEqual([bad, times], [['a packet of a time that cannot be'], [0, at]]);
});
