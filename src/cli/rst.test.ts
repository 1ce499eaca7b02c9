// `weir rst` as a whole command: findings in lines and in JSON, what was not measured said, a capture read for real.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';
import { frameOf, pcapFile, tcpBits, tcpPacket } from '../../test/support/capture-file.ts';
import { CommandBed } from '../../test/support/command-bed.ts';
import { lacksProgram } from '../../test/support/namespace.ts';
import { readResets } from '../netops/resets/read-resets.ts';
import type { ResetFinding } from '../netops/resets/reset-finding.ts';

const finding: ResetFinding = {
  at: 1_700_000_000_000_000,
  flow: { proto: 'tcp', src: '10.0.0.2', sport: 80, dst: 'fd00::1', dport: 4000 },
  direction: 'out',
  kind: 'active',
  cause: 'unread-data',
  comm: 'nginx',
  pid: 12,
  evidence: [{ rung: 'trace', text: 'tcp_send_reset, active' }],
  alternatives: [],
  confidence: 'proven',
};

describe('weir rst', () => {
  const bed = new CommandBed();
  beforeEach(() => bed.reset());
  after(() => bed.close());

  it('shows what it found, and what it could not measure', async () => {
    bed.packets = {
      async watchResets(wish, onFinding, onListening) {
        onListening(['eth0']);
        assert.deepEqual([wish.expression, wish.limits.durationMs], ['host 10.0.0.2', 5000]);
        onFinding(finding);
        return {
          account: {} as never,
          findings: 1,
          notMeasured: ['which RSTs the kernel sent, and by whom (needs root and tracefs)'],
        };
      },
    };
    const shown = await bed.run('rst host 10.0.0.2 --for 5s');
    assert.equal(
      shown.out,
      '22:13:20.000000 10.0.0.2:80 > [fd00::1]:4000 (sent here)  unread-data, by nginx (pid 12)\n  the program closed with data it had not read (proven)\n  trace: tcp_send_reset, active\n',
    );
    assert.match(shown.err, /watching eth0\nweir: 1 finding: 1 unread-data\nweir: not measured: which RSTs/);
    const json = JSON.parse((await bed.run('rst host 10.0.0.2 --for 5s --json')).out);
    for (const key of ['flow', 'direction', 'kind', 'cause', 'comm', 'pid', 'evidence', 'alternatives', 'confidence'])
      assert.ok(key in json, key);
    assert.equal((await bed.run('rst --for never')).code, 2);
  });

  it('shows names of interfaces without what they would do to a terminal', async () => {
    bed.packets = {
      async watchResets(_wish, _onFinding, onListening) {
        onListening(['eth\u001b[2J']);
        return { account: {} as never, findings: 0, notMeasured: ['interface eth\u001b[2J: it went away'] };
      },
    };
    const { err } = await bed.run('rst');
    assert.match(err, /watching eth\\x1b\[2J\n[\s\S]*interface eth\\x1b\[2J: it went away\n/);
    assert.ok(!err.includes('\u001b'));
  });

  it('reads a capture', { skip: lacksProgram('tcpdump', 'tcpdump') }, async () => {
    bed.packets = {
      readResets: (input, expression, onFinding) =>
        readResets(
          (async function* () {
            yield readFileSync(input);
          })(),
          expression,
          onFinding,
        ),
    };
    const file = path.join(bed.directory, 'a.pcap');
    const ends = { from: '10.0.0.1', to: '10.0.0.2', fromPort: 4000, toPort: 80 };
    const refusal = tcpPacket({
      from: ends.to,
      to: ends.from,
      fromPort: 80,
      toPort: 4000,
      flags: tcpBits.rst | tcpBits.ack,
      sequence: 0,
      acknowledged: 2,
    });
    writeFileSync(
      file,
      pcapFile([tcpPacket({ ...ends, flags: tcpBits.syn, sequence: 1 }), refusal].map((packet) => frameOf(packet, 1))),
    );
    const { out, err } = await bed.run(`rst -r ${file}`);
    assert.match(
      out,
      /10\.0\.0\.2:80 > 10\.0\.0\.1:4000 {2}closed-port\n {2}nothing listens there: the kernel refused \(observed; not ruled out: firewall-reject\)/,
    );
    assert.match(err, /1 finding: 1 closed-port\nweir: 2 packets read; whether a socket sent a RST cannot be asked of a file/);
    assert.match((await bed.run(`rst -r ${file} udp`)).err, /no RST was seen/);
    for (const option of ['--for 5s', '--if eth0', '--netns web']) {
      const refused = await bed.run(`rst -r ${file} ${option}`);
      assert.equal(refused.code, 2);
      assert.match(refused.err, new RegExp(`${option.split(' ')[0]} is of the wire, not of a file`));
    }
  });
});
