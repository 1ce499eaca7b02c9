// Live captures in a namespace of their own: the wire's packets and no others, tags in their place, what processes they are of, rings,
// limits, and that a capture that lost packets says so.

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { be16 } from '../../src/kernel/packet-header.ts';
import { defaultLimits, LiveCapture } from '../../src/netops/capture/live-capture.ts';
import { type CaptureWish, type PacketLine, runLiveCapture } from '../../src/netops/capture/run-capture.ts';
import type { SeenCredential } from '../../src/netops/credentials/credential-finder.ts';
import { CaptureReader } from '../../src/record/importers/capture-reader.ts';
import { createSegment, lacksKernelTests, lacksProgram, type TestNamespace, until, withLab } from '../support/namespace.ts';
import { sendFrame } from '../support/send-frame.ts';

const skip = lacksKernelTests() || lacksProgram('tcpdump', 'tcpdump') || lacksProgram('socat', 'socat');

const wish = (more: Partial<CaptureWish>): CaptureWish => ({
  expression: '',
  interfaces: ['sv'],
  limits: { ...defaultLimits, durationMs: 20_000 },
  promiscuous: true,
  credentials: false,
  processes: false,
  application: 'weir test',
  ...more,
});

interface Running {
  readonly lines: PacketLine[];
  readonly credentials: SeenCredential[];
  readonly done: ReturnType<typeof runLiveCapture>;
  stop(): void;
}

/** Begins a capture; resolves when it listens. */
async function begin(one: CaptureWish): Promise<Running> {
  const abort = new AbortController();
  const lines: PacketLine[] = [];
  const credentials: SeenCredential[] = [];
  let done: ReturnType<typeof runLiveCapture> | undefined;
  await new Promise<void>((resolve, reject) => {
    const screen = {
      packet: (line: PacketLine) => void lines.push(line),
      credential: (seen: SeenCredential) => void credentials.push(seen),
      listening: () => resolve(),
    };
    done = runLiveCapture(one, screen, abort.signal);
    done.catch(reject);
  });
  return { lines, credentials, done: done as ReturnType<typeof runLiveCapture>, stop: () => abort.abort() };
}

const send = (from: TestNamespace, port: number, text: string): Promise<unknown> =>
  from.run(['socat', '-u', '-', `UDP4-SENDTO:10.99.0.2:${port}`], { input: text });

test('packets of the wire that match, both ways, whose process, and what they were told', { skip, timeout: 60_000 }, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    let heard = '';
    const server = sensor.spawn(['socat', '-u', 'UDP4-RECV:7000,reuseaddr', '-']);
    server.stdout?.on('data', (bytes) => {
      heard += String(bytes);
    });
    await until('it listens', async () => (await sensor.run(['ss', '-lun'])).stdout.includes(':7000'));
    const running = await begin(wish({ expression: 'udp port 7000 or icmp', netns: sensor.path, processes: true }));
    await send(attacker, 7000, 'one');
    await send(attacker, 7001, 'two');
    await until('all came', () => heard.includes('one') && running.lines.some(({ text }) => text.includes('icmp')));
    running.stop();
    const outcome = await running.done;
    assert.equal(outcome.complete, true);
    assert.deepEqual(
      outcome.account?.interfaces.map(({ interface: name, dropped }) => [name, dropped]),
      [['sv', 0]],
    );
    const datagram = running.lines.find(({ text }) => / > 10\.99\.0\.2:7000 udp len 3 /.test(text));
    assert.ok(datagram && !datagram.outgoing && Math.abs(datagram.at - Date.now() * 1000) < 60e6);
    assert.match(datagram.comments.join(), /process socat, pid \d+, uid 0/);
    assert.ok(running.lines.find(({ text }) => text.includes('icmp'))?.outgoing);
    assert.ok(running.lines.every(({ text }) => !text.includes(':7001')));
  }),
);

test('a tagged frame has its tag, and is judged with it: as it would be in a file', { skip, timeout: 60_000 }, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    const ip = Buffer.from('4500001c0001400040110000' + '0a630001' + '0a630002' + '1388' + '0050' + '0008' + '0000', 'hex');
    const macs = Buffer.from('020000009902020000009901', 'hex');
    const plain = Buffer.concat([macs, Buffer.from('0800', 'hex'), ip, Buffer.alloc(18)]);
    const tagged = Buffer.concat([macs, Buffer.from('810000050800', 'hex'), ip, Buffer.alloc(18)]);
    for (const [expression, expected] of [
      ['udp port 80', ['plain']],
      ['not udp port 80 and (ip or vlan)', ['tagged']],
      ['vlan 5 and udp port 80', ['tagged']],
      ['vlan 6', []],
      ['(udp port 80) or (vlan and (udp port 80))', ['plain', 'tagged']],
    ] as const) {
      const seen: string[] = [];
      const capture = await LiveCapture.open({
        ...wish({ expression, netns: sensor.path }),
        limits: { ...defaultLimits, durationMs: 400 },
      });
      const done = capture.run(({ bytes, start, end, wireLength }) => {
        const tag = be16(bytes, start + 12) === 0x8100;
        seen.push(tag ? 'tagged' : 'plain');
        assert.equal(wireLength, tag ? tagged.length : plain.length);
        assert.ok(bytes.subarray(start, end).equals(tag ? tagged : plain));
      });
      sendFrame(attacker, 'av', plain);
      sendFrame(attacker, 'av', tagged);
      await done;
      assert.deepEqual(seen, [...expected], expression);
    }
  }),
);

test('a ring keeps the newest, one file all, and credentials are found as they pass', { skip, timeout: 60_000 }, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    const directory = mkdtempSync(path.join(tmpdir(), 'weir-capture-'));
    try {
      const ring = { files: 2, bytes: 4096 };
      const file = path.join(directory, 'all.pcapng');
      const running = await begin(
        wish({ expression: 'udp', netns: sensor.path, file, ring, credentials: true, limits: { ...defaultLimits, packets: 60 } }),
      );
      const words = Array.from({ length: 12 }, (_, index) => `number ${index} ${'x'.repeat(900)}`);
      for (const word of words) await send(attacker, 9, word);
      const octal = [...Buffer.from('3013020101040670756c626963a006020101020100', 'hex')].map(
        (byte) => `\\${byte.toString(8).padStart(3, '0')}`,
      );
      await attacker.run(['sh', '-c', `printf '${octal.join('')}' | socat -u - UDP4-SENDTO:10.99.0.2:161`]);
      await until('the community was seen', () => running.credentials.length > 0);
      running.stop();
      const outcome = await running.done;
      assert.deepEqual(readdirSync(directory).sort(), outcome.files.map((name) => path.basename(name)).sort());
      assert.equal(outcome.files.length, 2);
      let kept = 0;
      for (const name of outcome.files) {
        assert.equal(statSync(name).mode & 0o777, 0o600);
        const count = (): void => {
          kept += 1;
        };
        const reader = new CaptureReader({ frame: count, bad: (why) => assert.fail(why) }, 0);
        reader.push(readFileSync(name));
        reader.finish();
      }
      assert.equal(kept + outcome.overwritten, outcome.packets);
      assert.ok(outcome.overwritten > 0);
      assert.ok(readFileSync(outcome.files[1]).includes('number 11'));
      assert.deepEqual([running.credentials[0].protocol, running.credentials[0].secret], ['snmp', 'pulbic']);
    } finally {
      rmSync(directory, { recursive: true });
    }
  }),
);

test('limits end it; an interface that is not there is said', { skip, timeout: 60_000 }, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    const running = await begin(
      wish({ netns: sensor.path, interfaces: [], expression: 'udp', limits: { ...defaultLimits, packets: 3 } }),
    );
    for (let count = 0; count < 5; count += 1) await send(attacker, 9, 'x');
    const outcome = await running.done;
    assert.deepEqual([outcome.packets, outcome.account?.ended], [3, 'packets']);
    assert.deepEqual(outcome.account?.interfaces.map(({ interface: name }) => name).sort(), ['lo', 'sv']);
    await sensor.ip('link add name nowhere type veth peer name no-peer\n');
    const both = await begin(wish({ netns: sensor.path, interfaces: ['nowhere', 'sv'], expression: 'icmp' }));
    await sensor.ip('link set sv down\nlink set sv up\n');
    await attacker.run(['ping', '-c', '1', '-W', '5', '10.99.0.2']);
    both.stop();
    const { account, complete } = await both.done;
    assert.deepEqual(
      [account?.ended, account?.packets, account?.down, account?.left, complete],
      ['stopped', 2, ['nowhere', 'sv'], [], true],
    );
    const gone = await begin(wish({ netns: sensor.path, interfaces: ['nowhere'] }));
    await sensor.ip('link del nowhere\n');
    const last = (await gone.done).account;
    assert.deepEqual([last?.ended, last?.left[0]?.why], ['interface-gone', 'it went away (ENETDOWN)']);
    await assert.rejects(begin(wish({ netns: sensor.path, interfaces: ['nosuch'] })), { code: 'not-found' });
    await assert.rejects(begin(wish({ netns: sensor.path, expression: 'prot' })), { code: 'bad-request' });
  }),
);

test('a fault while packets are kept ends the capture as that fault', { skip, timeout: 60_000 }, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    const capture = await LiveCapture.open(wish({ netns: sensor.path, expression: 'udp' }));
    const done = capture.run(() => {
      throw new Error('no room');
    });
    const refused = assert.rejects(done, /no room/);
    await send(attacker, 9, 'x');
    await refused;
  }),
);

const program = fileURLToPath(new URL('../../src/programs/weir.js', import.meta.url));

test('told to end it ends in order: what was kept is written, what was seen is said', { skip, timeout: 60_000 }, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    const directory = mkdtempSync(path.join(tmpdir(), 'weir-capture-'));
    const start = (argv: readonly string[], ready: RegExp) => {
      const child = sensor.spawn([process.execPath, program, ...argv]);
      let said = '';
      child.stderr?.on('data', (bytes) => {
        said += String(bytes);
      });
      const ended = new Promise((resolve) => child.once('exit', (code, by) => resolve(code ?? by)));
      const listening = until('it listens', () => ready.test(said));
      return { child, ended, listening, said: () => said };
    };
    try {
      const running = (['SIGTERM', 'SIGHUP'] as const).map((signal) => {
        const file = path.join(directory, `${signal}.pcapng`);
        return { signal, file, ...start(['capture', 'udp', '--if', 'sv', '-w', file], /listening on sv/) };
      });
      for (const { listening } of running) await listening;
      await send(attacker, 9, 'kept');
      for (const { signal, file, child, ended, said } of running) {
        child.kill(signal);
        assert.equal(await ended, 0, said());
        assert.match(said(), /^weir: 1 packet in .* \(stopped\), in /m);
        assert.ok(readFileSync(file).includes('kept'));
      }
    } finally {
      rmSync(directory, { recursive: true });
    }
  }),
);
