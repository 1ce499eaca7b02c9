// Who sent a RST and why: all eight causes staged for real, each named, with its evidence; SYNs into an established connection; and
// the same from a capture of it. Everything in namespaces of its own.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { readConnections } from '../../src/kernel/machine/socket-diag.ts';
import { defaultLimits, LiveCapture } from '../../src/netops/capture/live-capture.ts';
import { viewPacket } from '../../src/netops/capture/packet-view.ts';
import { runLiveCapture } from '../../src/netops/capture/run-capture.ts';
import { readResets } from '../../src/netops/resets/read-resets.ts';
import type { ResetFinding } from '../../src/netops/resets/reset-finding.ts';
import { watchResets } from '../../src/netops/resets/watch-resets.ts';
import { createSegment, lacksKernelTests, lacksProgram, type TestNamespace, until, withLab } from '../support/namespace.ts';
import { segmentFrame, sendFrame } from '../support/send-frame.ts';

const skip = lacksKernelTests() || lacksProgram('tcpdump', 'tcpdump') || lacksProgram('socat', 'socat');

/** 7002 closes with unread data, 7003 with SO_LINGER 0, 7005 at once; the others hold. */
const server = `
const net = require('node:net');
const quiet = (s) => s.on('error', () => {});
const listen = (port, options, on) => net.createServer(options, (s) => { quiet(s); on(s); }).listen(port, '0.0.0.0', () => console.log('up ' + port));
listen(7002, { pauseOnConnect: true }, (s) => setTimeout(() => s.destroy(), 200));
listen(7003, {}, (s) => setTimeout(() => s.resetAndDestroy(), 50));
listen(7005, {}, (s) => s.destroy());
for (const port of [7004, 7007, 7008, 7009]) listen(port, {}, (s) => s.write('hello'));
`;
/** Connects, says what it is told to after what it is told to wait for, and stays until it is reset. */
const client = `
const net = require('node:net');
const [port, when, text] = process.argv.slice(1);
const s = net.connect({ port: Number(port), host: '10.99.0.2', allowHalfOpen: true });
s.on('error', (e) => { console.log(e.code); process.exit(); });
// Behind the delayed acknowledgement of a FIN, or it would travel with it.
s.on(when, () => setTimeout(() => { console.log('now'); if (text) s.write(text); }, when === 'end' ? 300 : 0));
`;

const [attackerMac, sensorMac] = ['02:00:00:00:99:01', '02:00:00:00:99:02'];

interface Bed {
  readonly attacker: TestNamespace;
  readonly sensor: TestNamespace;
  readonly findings: ResetFinding[];
  /** Starts a client and resolves when it did what it was told. */
  connect(port: number, when: string, text?: string): Promise<void>;
  /** The finding about a port of the server. */
  about(port: number): Promise<ResetFinding>;
}

function stateOf(sensor: TestNamespace, port: number): { remotePort: number } | undefined {
  const { sockets } = readConnections(sensor.path, { transports: ['tcp'], states: ['ESTABLISHED'] });
  const found = sockets.find(({ localPort }) => localPort === port);
  return found && { remotePort: found.remotePort };
}

async function stage(
  { attacker, sensor, connect, about, findings }: Bed,
  firstBytes: ReadonlyMap<number, number>,
): Promise<void> {
  await attacker.run(['socat', '-u', '/dev/null', 'TCP4:10.99.0.2:7001'], { anyCode: true });
  await about(7001);
  await connect(7002, 'connect', 'nobody reads this');
  await about(7002);
  await connect(7003, 'connect');
  await about(7003);
  await connect(7004, 'data');
  await sensor.run(['ss', '-K', 'sport', '=', ':7004']);
  await about(7004);
  await connect(7005, 'end', 'too late');
  await about(7005);
  sensor.spawn(['socat', 'TCP4-LISTEN:7006,keepalive,keepidle=1,keepintvl=1,keepcnt=2', 'PIPE']);
  await until('it listens', async () => (await sensor.run(['ss', '-ltn'])).stdout.includes(':7006'));
  await connect(7006, 'connect');
  await until('it is accepted', () => stateOf(sensor, 7006));
  await attacker.nft('table inet silence {\nchain in { type filter hook input priority 0; tcp sport 7006 drop\n}\n}\n');
  await about(7006);
  await connect(7007, 'data');
  await sensor.nft(
    'table inet guard {\nchain in { type filter hook input priority 0; tcp dport 7007 counter reject with tcp reset\n}\n}\n',
  );
  await attacker.run(['socat', '-u', '/dev/null', 'TCP4:10.99.0.2:7007'], { anyCode: true });
  await about(7007);
  await connect(7008, 'data');
  await connect(7009, 'data');
  const [forged, challenged] = [stateOf(sensor, 7008), stateOf(sensor, 7009)];
  assert.ok(forged && challenged);
  const sequence = firstBytes.get(forged.remotePort);
  assert.ok(sequence);
  const ends = { from: '10.99.0.1', to: '10.99.0.2' };
  const rst = { ...ends, fromPort: forged.remotePort, toPort: 7008, flags: 4, sequence, ttl: 200, id: 4242, window: 0 };
  sendFrame(attacker, 'av', segmentFrame(attackerMac, sensorMac, rst));
  await about(7008);
  const syn = { ...ends, fromPort: challenged.remotePort, toPort: 7009, flags: 2, window: 1024 };
  for (const number of [1, 2, 3]) {
    sendFrame(attacker, 'av', segmentFrame(attackerMac, sensorMac, { ...syn, sequence: number }));
    await new Promise((resolve) => setTimeout(resolve, 300)); // the kernel's limit is a time: 500 ms
  }
  await until('the SYNs are told', () => findings.some(({ cause }) => cause === 'syn-in-established'));
}

const expected: readonly [port: number, cause: string, kind: string, words: RegExp][] = [
  [7001, 'closed-port', 'passive', /reason NO_SOCKET[\s\S]*OutRsts\+1/],
  [7002, 'unread-data', 'active', /TCP_ABORT_ON_CLOSE[\s\S]*TCPAbortOnClose\+1/],
  [7003, 'linger-zero', 'active', /state CLOSE, reason TCP_STATE[\s\S]*TCPAbortOnData\+1/],
  [7004, 'destroyed', 'active', /state ESTABLISHED, reason TCP_STATE/],
  [7005, 'data-after-close', 'passive', /TCP_TIMEWAIT_SOCKET/],
  [7006, 'keepalive', 'active', /TCP_KEEPALIVE_TIMEOUT[\s\S]*TCPAbortOnTimeout\+1/],
  [7007, 'firewall-reject', 'firewall', /no tcp_send_reset[\s\S]*reject with tcp reset[\s\S]*OutRsts\+0/],
  [7008, 'forged', 'forged', /TTL 200, this end's packets have 64/],
];

const wordsOf = ({ evidence }: ResetFinding): string => evidence.map(({ rung, text }) => `${rung}: ${text}`).join('\n');
const portOf = ({ flow: { sport, dport } }: ResetFinding): number => (sport >= 7000 && sport < 7100 ? sport : dport);

function check(findings: readonly ResetFinding[]): void {
  for (const [port, cause, kind, words] of expected) {
    const found = findings.filter((finding) => portOf(finding) === port);
    assert.deepEqual(
      found.map((one) => [one.cause, one.kind, one.confidence]),
      [[cause, kind, 'proven']],
      `${port}\n${found.map(wordsOf).join('\n\n')}`,
    );
    assert.match(wordsOf(found[0]), words);
    assert.equal(found[0].direction, cause === 'forged' ? 'in' : 'out');
  }
  const commOf = (port: number): string | undefined => findings.find((one) => portOf(one) === port)?.comm;
  assert.deepEqual([7001, 7002, 7003, 7004, 7006].map(commOf), [undefined, 'node', 'node', 'ss', undefined]);
  const challenges = findings.filter((one) => portOf(one) === 7009);
  assert.equal(challenges[0].cause, 'syn-in-established');
  assert.match(wordsOf(challenges[0]), /3 SYNs into an established connection, 2 answered by a challenge ACK/);
  assert.match(wordsOf(challenges[0]), /1 not answered: one socket sends one challenge ACK in 500 ms/);
  assert.match(wordsOf(challenges[0]), /TCPChallengeACK\+2, TCPSYNChallenge\+[23], TCPACKSkippedChallenge\+1/);
}

/** Nobody can be asked about a file: causes with the same bytes are told together. */
const fromBytes: readonly [port: number, cause: string, alternative: string][] = [
  [7001, 'closed-port', 'firewall-reject'],
  [7002, 'aborted', 'unread-data'],
  [7003, 'aborted', 'linger-zero'],
  [7004, 'aborted', 'destroyed'],
  [7005, 'data-after-close', 'firewall-reject'],
  [7006, 'keepalive', 'aborted'],
  [7007, 'closed-port', 'firewall-reject'],
  [7008, 'forged', 'unknown-connection'],
];

function checkOffline(findings: readonly ResetFinding[]): void {
  for (const [port, cause, alternative] of fromBytes) {
    const found = findings.filter((finding) => portOf(finding) === port);
    assert.deepEqual(
      found.map((one) => [one.cause, one.confidence]),
      [[cause, 'observed']],
      `${port}\n${found.map(wordsOf).join('\n\n')}`,
    );
    assert.ok(found[0].alternatives.includes(alternative as ResetFinding['cause']), `${port}: ${found[0].alternatives}`);
  }
  assert.match(wordsOf(findings.filter((one) => portOf(one) === 7009)[0]), /3 SYNs[\s\S]*2 answered/);
}

test(
  'all eight causes, and SYNs into an established connection: named live, and as far as bytes tell from a capture',
  { skip, timeout: 90_000 },
  () =>
    withLab(async (lab) => {
      const { attacker, sensor } = await createSegment(lab);
      const directory = mkdtempSync(path.join(tmpdir(), 'weir-resets-'));
      const file = path.join(directory, 'all.pcapng');
      const abort = new AbortController();
      const limits = { ...defaultLimits, durationMs: 80_000 };
      const findings: ResetFinding[] = [];
      /** Sequence number of a client's first byte, by its port. */
      const firstBytes = new Map<number, number>();
      let heard = '';
      try {
        sensor.spawn([process.execPath, '-e', server]).stdout?.on('data', (bytes) => {
          heard += String(bytes);
        });
        await until('the servers listen', () => heard.match(/up/g)?.length === 7);
        let listening = (): void => {};
        const ready = new Promise<void>((resolve) => {
          listening = resolve;
        });
        const watching = watchResets(
          { expression: '', interfaces: [], netns: sensor.path, limits, signal: abort.signal },
          (finding) => findings.push(finding),
          () => listening(),
        );
        const capturing = runLiveCapture(
          {
            expression: 'tcp',
            interfaces: ['sv'],
            netns: sensor.path,
            limits,
            promiscuous: false,
            file,
            credentials: false,
            processes: false,
            application: 'test',
          },
          { packet: () => {}, credential: () => {}, listening: () => {} },
          abort.signal,
        );
        const asked = await LiveCapture.open({
          expression: 'tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn',
          interfaces: ['sv'],
          netns: sensor.path,
          limits,
          promiscuous: false,
          signal: abort.signal,
        });
        const asking = asked.run(({ bytes, start, end }) => {
          const view = viewPacket(bytes, start, end, 1);
          if (view?.tcp && view.sourcePort && !firstBytes.has(view.sourcePort))
            firstBytes.set(view.sourcePort, view.tcp.sequence + 1);
        });
        await Promise.race([ready, watching]);
        const bed: Bed = {
          attacker,
          sensor,
          findings,
          async connect(port, when, text) {
            let said = '';
            const child = attacker.spawn([process.execPath, '-e', client, '--', String(port), when, ...(text ? [text] : [])]);
            child.stdout?.on('data', (bytes) => {
              said += String(bytes);
            });
            await until(`a client of ${port}`, () => said !== '');
          },
          about: (port) =>
            until(
              `the RST about ${port}`,
              () => findings.find(({ flow, kind }) => kind !== 'challenge' && (flow.sport === port || flow.dport === port)),
              15_000,
            ),
        };
        await stage(bed, firstBytes);
        abort.abort();
        const outcome = await watching;
        await Promise.all([capturing, asking]);
        assert.deepEqual(
          outcome.notMeasured.filter((what) => !/namespace/.test(what)),
          [],
        );
        check(findings);
        const offline: ResetFinding[] = [];
        await readResets(
          (async function* () {
            yield readFileSync(file);
          })(),
          '',
          (finding) => offline.push(finding),
        );
        checkOffline(offline);
      } finally {
        rmSync(directory, { recursive: true });
      }
    }),
);

test("behind a translation a RST is told once, and is the kernel's that sent it", { skip, timeout: 60_000 }, () =>
  withLab(async (lab) => {
    const [client, router, server] = [await lab.namespace('c'), await lab.namespace('r'), await lab.namespace('s')];
    await lab.join(
      { namespace: client, link: 'c0', addresses: ['10.232.0.2/24'] },
      { namespace: router, link: 'r0', addresses: ['10.232.0.1/24'] },
    );
    await lab.join(
      { namespace: router, link: 'r1', addresses: ['10.232.1.1/24'] },
      { namespace: server, link: 's0', addresses: ['10.232.1.2/24'] },
    );
    await server.ip('route add default via 10.232.1.1\n');
    await router.setSysctl('net/ipv4/ip_forward', '1');
    await router.nft(
      'table ip nat {\nchain pre {\ntype nat hook prerouting priority -100\ntcp dport 8101 dnat to 10.232.1.2:7101\n}\n}\n',
    );
    const findings: ResetFinding[] = [];
    for (const interfaces of [[], ['r0']]) {
      findings.length = 0;
      const limits = { ...defaultLimits, durationMs: 20_000 };
      let listening = (): void => {};
      const ready = new Promise<void>((resolve) => {
        listening = resolve;
      });
      const stop = new AbortController();
      const watching = watchResets(
        { expression: '', interfaces, netns: router.path, limits, signal: stop.signal },
        (one) => findings.push(one),
        () => listening(),
      );
      await Promise.race([ready, watching]);
      await client.run(['socat', '-u', '/dev/null', 'TCP4:10.232.0.1:8101'], { anyCode: true });
      await until('it is told', () => findings.length > 0);
      stop.abort();
      await watching;
      assert.deepEqual(
        findings.map(({ cause, confidence }) => [cause, confidence]),
        [['closed-port', 'proven']],
        findings.map(wordsOf).join('\n\n'),
      );
    }
  }),
);
