// What tshark, a reader that is not ours, thinks of frames: checksums, sequence numbers, and the fields it finds in them.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

const tshark = '/usr/bin/tshark';

/** For `describe(.., { skip })`. */
export const withoutTshark = !existsSync(tshark) && process.env.WEIR_TESTS !== 'required' ? 'no tshark' : false;

export interface TimedFrame {
  readonly frame: Uint8Array;
  /** Microseconds. */
  readonly at: number;
}

function renderFile(frames: readonly TimedFrame[]): Buffer {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2c3d4, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(262_144, 16);
  header.writeUInt32LE(1, 20);
  const parts: Uint8Array[] = [header];
  for (const { frame, at } of frames) {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(Math.floor(at / 1e6), 0);
    record.writeUInt32LE(at % 1e6, 4);
    record.writeUInt32LE(frame.length, 8);
    record.writeUInt32LE(frame.length, 12);
    parts.push(record, frame);
  }
  return Buffer.concat(parts);
}

/** Rows of fields of the frames that `filter` shows (all without one), every checksum verified. */
export function dissectFrames(frames: readonly TimedFrame[], fields: readonly string[], filter?: string): string[][] {
  const directory = mkdtempSync(path.join(tmpdir(), 'weir-frames-'));
  try {
    const file = path.join(directory, 'frames.pcap');
    writeFileSync(file, renderFile(frames));
    const checks = ['ip', 'tcp', 'udp'].flatMap((layer) => ['-o', `${layer}.check_checksum:TRUE`]);
    const names = fields.flatMap((field) => ['-e', field]);
    const shown = filter === undefined ? [] : ['-Y', filter];
    const argv = ['-n', '-r', file, ...checks, ...shown, '-T', 'fields', '-E', 'separator=|', ...names];
    const text = execFileSync(tshark, argv, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 1 << 28 });
    return text
      .split('\n')
      .slice(0, -1)
      .map((line) => line.split('|'));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const amiss = [
  'tcp.analysis.flags && !tcp.analysis.reused_ports && !tcp.analysis.window_update',
  'ip.checksum.status == "Bad"',
  'tcp.checksum.status == "Bad"',
  'udp.checksum.status == "Bad"',
  '(_ws.malformed && !(tcp.len > 0))',
].join(' || ');

/** Frames with a bad checksum, a sequence number that does not fit, or a shape that is wrong: what tshark says of each. */
export const findAmiss = (frames: readonly TimedFrame[]): string[] =>
  dissectFrames(frames, ['frame.number', 'tcp.stream', '_ws.col.Info'], amiss).map((row) => row.join(' '));
