// Captures rebuilt from sessions: what tshark, a reader that is not ours, finds in them.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { sampleChunk, sampleSession } from '../../test/support/sample-records.ts';
import type { SessionRecord } from '../model/session.ts';
import { storedSessionDocument } from './documents.ts';
import { type Capture, renderSessionCapture } from './session-capture.ts';
import { summaryOf } from './session-summary.ts';

const start = 1_772_600_000_000_000;
const tshark = '/usr/bin/tshark';
const skip = !existsSync(tshark) && process.env.WEIR_TESTS !== 'required' ? 'no tshark' : false;

const captureOf = (session: SessionRecord): Capture =>
  renderSessionCapture(storedSessionDocument({ session: summaryOf(session), chunks: session.chunks }));

/** Rows of fields as tshark prints them, with every checksum verified. */
function dissect(capture: Capture, fields: readonly string[]): string[][] {
  const directory = mkdtempSync(path.join(tmpdir(), 'weir-pcap-'));
  try {
    const file = path.join(directory, 'one.pcap');
    writeFileSync(file, capture.bytes);
    const checks = ['ip', 'tcp', 'udp'].flatMap((layer) => ['-o', `${layer}.check_checksum:TRUE`]);
    const names = fields.flatMap((field) => ['-e', field]);
    const text = execFileSync(tshark, ['-n', '-r', file, ...checks, '-T', 'fields', '-E', 'separator=|', ...names], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return text
      .split('\n')
      .slice(0, -1)
      .map((line) => line.split('|'));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const long = Buffer.alloc(4000, 'abcdefgh');
const talk = [
  sampleChunk(start + 1000, 'out', 'SSH-2.0-OpenSSH_9.2p1\r\n'),
  sampleChunk(start + 2000, 'in', long),
  sampleChunk(start + 3000, 'out', 'bye\r\n'),
];

describe('a capture of a session', { skip }, () => {
  for (const [family, ends] of [
    ['IPv4', {}],
    ['IPv6', { source: { ip: '2001:db8::7', port: 40_001 }, destination: { ip: '2001:db8:66::4', port: 22 } }],
  ] as const)
    it(`is a whole TCP conversation over ${family}: handshake, every byte, end, right checksums`, () => {
      const capture = captureOf(sampleSession(start, 1, { ...ends, chunks: talk }));
      const rows = dissect(capture, [
        'tcp.flags.str',
        'tcp.payload',
        'tcp.srcport',
        'tcp.checksum.status',
        'ip.checksum.status',
        '_ws.expert.severity',
        'tcp.len',
      ]);
      assert.equal(rows.length, capture.frames);
      const flags = rows.map(([text]) => text.replaceAll('·', ''));
      assert.deepEqual(flags.slice(0, 3), ['S', 'AS', 'A']);
      assert.deepEqual(flags.slice(-3), ['AF', 'AF', 'A']);
      const bytes = (port: string): Buffer =>
        Buffer.from(
          rows
            .filter((row) => row[2] === port)
            .map((row) => row[1])
            .join(''),
          'hex',
        );
      assert.ok(bytes('40001').equals(long));
      assert.equal(bytes('22').toString(), 'SSH-2.0-OpenSSH_9.2p1\r\nbye\r\n');
      for (const row of rows) {
        assert.equal(row[3], '1', 'TCP checksum');
        assert.equal(row[4], family === 'IPv4' ? '1' : '');
        assert.ok(Number(row[6]) <= 1440);
        // Warnings (6 MiB) and errors (8 MiB) of the analysis: lost segments, retransmissions, malformed packets.
        for (const severity of row[5].split(',')) assert.ok(severity === '' || Number(severity) < 0x600000, row.join(' '));
      }
    });

  it('ends as the session did', () => {
    const endOf = (outcome: SessionRecord['outcome']): string => {
      const rows = dissect(captureOf(sampleSession(start, 1, { outcome, chunks: talk })), ['tcp.flags.str', 'tcp.srcport']);
      return rows
        .filter(([flags]) => /[FR]/.test(flags))
        .map(([flags, port]) => `${port === '22' ? 'decoy' : 'attacker'} ${flags.replaceAll('·', '')}`)
        .join(', ');
    };
    assert.equal(endOf('client-closed'), 'attacker AF, decoy AF');
    assert.equal(endOf('server-closed'), 'decoy AF, attacker AF');
    assert.equal(endOf('client-reset'), 'attacker AR');
    assert.equal(endOf('interrupted'), '');
  });

  it('keeps times, the sequence number of the SYN and the MAC that were seen', () => {
    const syn = { ttl: 54, ipId: 1, doNotFragment: true, window: 1, sequence: 123_456_789, options: '' };
    const capture = captureOf(sampleSession(start, 1, { syn, sourceMac: '00:0c:29:aa:bb:cc', chunks: talk }));
    const [first, , , data] = dissect(capture, ['frame.time_epoch', 'tcp.seq_raw', 'eth.src', 'ip.ttl']);
    assert.deepEqual([first[1], first[2], first[3]], ['123456789', '00:0c:29:aa:bb:cc', '54']);
    assert.equal(Number(first[0]).toFixed(6), '1772600000.000000');
    assert.equal(Number(data[0]).toFixed(6), '1772600000.001000');
  });

  it('is datagrams for UDP', () => {
    const chunks = [
      sampleChunk(start, 'in', Buffer.from('12340100000100000000000007657861', 'hex')),
      sampleChunk(start + 5, 'out', 'x'),
      sampleChunk(start + 6, 'in', ''),
    ];
    const session = sampleSession(start, 1, { transport: 'udp', destination: { ip: '10.66.3.4', port: 5353 }, chunks });
    const rows = dissect(captureOf(session), ['udp.length', 'udp.checksum.status', 'udp.srcport']);
    assert.deepEqual(rows, [
      ['24', '1', '40001'],
      ['9', '1', '5353'],
      ['8', '1', '40001'],
    ]);
  });
});

describe('a capture', () => {
  it('is well formed whatever was recorded', () => {
    const chunk = fc.record({
      direction: fc.constantFrom('in' as const, 'out' as const),
      bytes: fc.uint8Array({ maxLength: 3000 }),
      at: fc.integer({ min: -5, max: 1e9 }),
    });
    const transport = fc.constantFrom('tcp' as const, 'udp' as const);
    fc.assert(
      fc.property(fc.array(chunk, { maxLength: 12 }), transport, (chunks, kind) => {
        const session = sampleSession(start, 1, {
          transport: kind,
          chunks: chunks.map((one) => ({ ...one, at: start + one.at })),
        });
        const { bytes, frames } = captureOf(session);
        const view = Buffer.from(bytes);
        let at = 24;
        let count = 0;
        let last = 0;
        while (at < view.length) {
          const time = view.readUInt32LE(at) * 1e6 + view.readUInt32LE(at + 4);
          assert.ok(time >= last && view.readUInt32LE(at + 4) < 1e6);
          last = time;
          const length = view.readUInt32LE(at + 8);
          assert.equal(view.readUInt16BE(at + 16 + 14 + 2), length - 14, 'the IPv4 length field');
          at += 16 + length;
          count += 1;
        }
        assert.equal(at, view.length);
        assert.equal(count, frames);
      }),
    );
  });
});
