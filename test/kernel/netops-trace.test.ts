// Trace events of the kernel, for real: what a refused connection leaves, that nothing of ours stays behind, and that what a
// killed process left is removed by the next.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { openTracefs } from '../../src/kernel/trace/mount-tracefs.ts';
import { dropTraceRequest, readTcpTraceEvent, type TcpTraceEvent, tcpTraceRequests } from '../../src/kernel/trace/tcp-events.ts';
import { TraceSession } from '../../src/kernel/trace/trace-session.ts';
import { createSegment, lacksKernelTests, until, withLab } from '../support/namespace.ts';

function instances(): string[] {
  const tracefs = openTracefs();
  try {
    return readdirSync(`${tracefs.path}/instances`).filter((name) => name.includes(`-${process.pid}-`));
  } finally {
    tracefs.close();
  }
}

test(
  'a refused connection: the drop, the RST that was sent and received, the change of state; nothing is left behind',
  { skip: lacksKernelTests(), timeout: 30_000 },
  () =>
    withLab(async (lab) => {
      const { attacker } = await createSegment(lab);
      const session = new TraceSession([...tcpTraceRequests, dropTraceRequest]);
      assert.equal(instances().length, 1);
      assert.deepEqual(session.missing, []);
      assert.ok(session.fieldsOf('skb:kfree_skb').includes('reason'));
      const seen: TcpTraceEvent[] = [];
      const begun = Date.now() * 1000;
      await attacker.run(['socat', '-u', '/dev/null', 'TCP4:10.99.0.2:7'], { anyCode: true });
      await until('all of it was told', () => {
        for (const event of session.read()) {
          const typed = readTcpTraceEvent(event);
          if (typed) seen.push(typed);
        }
        return seen.some((event) => event.kind === 'reset-received' && event.destination.ip === '10.99.0.2');
      });
      session.close();
      assert.deepEqual(instances(), []);
      assert.equal(session.lost, 0);
      const sent = seen.find((event) => event.kind === 'reset-sent' && event.source?.ip === '10.99.0.2');
      assert.ok(sent?.kind === 'reset-sent');
      assert.equal(sent.source?.port, 7);
      assert.equal(sent.reason, 'NO_SOCKET');
      assert.equal(sent.socket, undefined);
      assert.ok(Math.abs(sent.at - begun) < 10e6, 'times are those of the wall clock');
      assert.ok(seen.some((event) => event.kind === 'drop' && event.reason === 'NO_SOCKET' && event.location === 'tcp_v4_rcv'));
      const change = seen.find(
        (event) => event.kind === 'state-change' && event.to === 'SYN_SENT' && event.destination.port === 7,
      );
      assert.equal(change?.comm, 'socat');
      assert.equal(change?.inTask, true);
    }),
);

test('one that is told to end leaves nothing; what a killed one left is removed by the next', {
  skip: lacksKernelTests(),
  timeout: 30_000,
}, async () => {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) await endBy(signal);
});

async function endBy(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  const script = `const { TraceSession } = await import(${JSON.stringify(new URL('../../src/kernel/trace/trace-session.js', import.meta.url).href)});
new TraceSession([{ event: 'tcp:tcp_send_reset' }]); process.once('SIGTERM', () => process.exit(143)); console.log('up'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  const ofChild = (): string[] => {
    const tracefs = openTracefs();
    try {
      return readdirSync(`${tracefs.path}/instances`).filter((name) => name.includes(`-${child.pid}-`));
    } finally {
      tracefs.close();
    }
  };
  assert.equal(ofChild().length, 1);
  child.kill(signal);
  await once(child, 'exit');
  assert.equal(ofChild().length, signal === 'SIGKILL' ? 1 : 0);
  new TraceSession([{ event: 'tcp:tcp_send_reset' }]).close();
  assert.deepEqual(ofChild(), []);
}
