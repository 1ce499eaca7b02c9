// kill -9 of each process at random under load: nothing older than 200 ms is lost, nothing is doubled, the rules stay, the
// service is back within a second. Rounds: WEIR_CRASH_ROUNDS, 8 unless told (the README's figure is of 20).

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Recorded, type WeirLab, withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests, until } from '../support/namespace.ts';

const rounds = Number(process.env.WEIR_CRASH_ROUNDS ?? 8);
const configuration = `
diversions:
  - { name: dmz, kind: host, interface: eth0, decoys: [{ addresses: 10.64.0.0/24, persona: all-open }] }
`;

/**
 * In the attacker's namespace: 40 connections a second, each with a number of its own, and one that stays open. Prints a
 * JSON line per completed payload with the time it was sent; ends when its standard input does.
 */
const attacker = `
const net = require('node:net');
let n = 0;
const hold = net.connect({ host: '10.64.0.200', port: 4000 }, () => hold.write('held open\\n'));
hold.on('error', () => {});
setInterval(() => {
  const number = n++;
  const socket = net.connect({ host: '10.64.0.' + (1 + number % 100), port: 5000 + number % 50 });
  socket.setTimeout(3000, () => socket.destroy());
  socket.on('error', () => {});
  socket.on('connect', () => socket.end('touch ' + number + '\\n', () => {
    console.log(JSON.stringify({ number, at: Date.now(), port: socket.localPort }));
  }));
  socket.resume();
}, 25);
process.stdin.on('end', () => process.exit(0)).resume();
`;

interface Sent {
  readonly number: number;
  readonly at: number;
  readonly port: number;
}

const answersAt = async (lab: WeirLab): Promise<boolean> =>
  (await lab.attack(['curl', '-s', '-m', '0.25', '-o', '/dev/null', 'http://10.64.0.7:8099/'])).code === 0;

test('kill -9 at random under load', { skip: lacksKernelTests() }, () =>
  withWeirLab({ configuration }, async (lab) => {
    const running = await lab.up();
    const rules = (): Promise<string> => lab.sensor.run(['nft', '-s', 'list', 'ruleset']).then(({ stdout }) => stdout);
    const before = await rules();
    const client = lab.attacker.spawn([process.execPath, '-e', attacker]);
    const sent: Sent[] = [];
    let rest = '';
    client.stdout?.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) sent.push(JSON.parse(line));
    });
    await until('load runs', () => sent.length > 20);
    const kills: { name: string; at: number }[] = [];
    /**
     * When each gateway that had to go was gone: after its own death at once; after the supervisor's when it has noticed, and netd
     * with it, which held the listeners with what nobody had accepted.
     */
    const gatewayEnds: { from: number; to: number }[] = [];
    const back: number[] = [];
    const names = ['gateway', 'recorder', 'netd', 'up'] as const;
    let deaths = 0;
    const pidOf = async (name: (typeof names)[number]): Promise<number | undefined> =>
      name === 'up'
        ? (await lab.reader.status().catch(() => undefined))?.processes?.find((one) => one.name === 'up')?.pid
        : lab.processes().get(name);
    for (let round = 0; round < rounds; round += 1) {
      // Every one in turn, at a moment nobody chose.
      const name = names[round % names.length];
      await new Promise((resolve) => setTimeout(resolve, 300 + Math.random() * 700));
      const gateway = lab.processes().get('gateway');
      const holder = name === 'up' ? lab.processes().get('netd') : undefined;
      const pid = await pidOf(name);
      assert.ok(pid, `${name} runs before it is killed`);
      process.kill(pid, 'SIGKILL');
      const at = Date.now();
      kills.push({ name, at });
      const gone =
        gateway !== undefined && (name === 'gateway' || name === 'up')
          ? until('the old gateway is gone', () => {
              const now = lab.processes();
              return now.get('gateway') !== gateway && (holder === undefined || now.get('netd') !== holder);
            }).then(() => gatewayEnds.push({ from: at, to: Date.now() }))
          : undefined;
      await until('decoys answer again', () => answersAt(lab), 30_000).catch((error) => {
        throw new Error(`${error} after killing ${name}:\n${running.output.slice(-4000)}`);
      });
      back.push(Date.now() - at);
      await gone;
      await until(
        `${name} runs again`,
        async () => {
          const now = await pidOf(name);
          return now !== undefined && now !== pid;
        },
        60_000,
      );
      // A new supervisor counts from nothing, and starts the others anew.
      deaths = name === 'up' ? 0 : deaths + 1;
      await until(
        'all run',
        async () => lab.processes().size === 3 && (await lab.reader.status().catch(() => undefined)),
        60_000,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
    client.stdin?.end();
    await until(
      'the recorder is up',
      () =>
        lab.reader.status().then(
          () => true,
          () => false,
        ),
      20_000,
    );
    await lab.settled();
    assert.equal(await rules(), before, 'the rules are as they were');

    const records = (await lab.records(['sessions', '--limit', '10000'])).filter(
      ({ destination }) => destination.port >= 5000 && destination.port < 5050,
    );
    const byPort = new Map<string, Recorded[]>();
    for (const record of records) {
      const key = `${record.source.port}>${record.destination.ip}:${record.destination.port}`;
      byPort.set(key, [...(byPort.get(key) ?? []), record]);
    }
    for (const [key, list] of byPort) assert.equal(list.length, 1, `${key} is recorded once`);
    // What was sent in the 200 ms before a gateway died may be missing; everything else must be there.
    const missing = sent.filter(({ number, at, port }) => {
      if (byPort.has(`${port}>10.64.0.${1 + (number % 100)}:${5000 + (number % 50)}`)) return false;
      return !gatewayEnds.some(({ from, to }) => at > from - 200 && at <= to + 50);
    });
    assert.deepEqual(
      missing,
      [],
      `of ${sent.length} sent; ${JSON.stringify({ kills, gatewayEnds })}\n${running.output.slice(-4000)}`,
    );
    const held = (await lab.records(['sessions', '--port', '4000'])) as unknown as { weir: { session: { outcome: string } } }[];
    assert.equal(held.length, 1);
    assert.equal(held[0].weir.session.outcome, 'interrupted');
    const system = await lab.reader.status();
    const restarts = (system.processes ?? []).reduce((sum, one) => sum + (one.restarts ?? 0), 0);
    assert.equal(restarts, deaths, 'every death is known');
    // The last supervisor is a successor: nobody's child.
    assert.match((await lab.weir(['down'])).stdout, /Weir is stopped/);
    console.log(
      `killed ${kills.length} times under ${sent.length} touches; missing 0; answered again after ms: ${back.join(' ')}`,
    );
  }),
);

test(
  'netd that dies while its file is edited still looks after what is applied',
  {
    skip: lacksKernelTests(),
  },
  () =>
    withWeirLab({ configuration }, async (lab) => {
      await lab.up();
      assert.ok(await answersAt(lab));
      lab.configure('diversions: [{ name: nonsense }]\n');
      const pid = lab.processes().get('netd');
      assert.ok(pid);
      process.kill(pid, 'SIGKILL');
      await until('netd is back and looks after what is applied', async () => {
        const next = lab.processes().get('netd');
        return (
          next !== undefined &&
          next !== pid &&
          (await lab.reader.status().catch(() => undefined))?.diversions?.length !== undefined
        );
      });
      await lab.sensor.run(['nft', 'delete', 'table', 'inet', 'weir']);
      await until('rules are put back', async () =>
        (await lab.sensor.run(['nft', 'list', 'tables'])).stdout.includes('inet weir'),
      );
      assert.ok(await answersAt(lab));
    }),
);
