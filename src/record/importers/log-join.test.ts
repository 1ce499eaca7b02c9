import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { assertAdded, importInputs } from './import-contract.ts';

const second = (at: number): string => new Date(Date.UTC(2026, 2, 4) + at * 1000).toISOString();
const session = (at: number, sport: number, source = '192.0.2.7', ended = at): string =>
  JSON.stringify({
    timestamp: second(at),
    flow: { proto: 'tcp', src: source, sport, dst: '10.0.0.5', dport: 12_345 },
    payloads: ended === at ? [] : [{ index: 0, timestamp: second(ended), data: 'aGVsbG8=' }],
  });
const packet = (at: number, sport: number, dport: number, source = '192.0.2.7', flags = 'SYN', dst = '198.51.100.9'): string =>
  `${second(at)} s kernel: IN=eth0 OUT= SRC=${source} DST=${dst} LEN=60 TTL=52 ID=1 PROTO=TCP SPT=${sport} DPT=${dport} SEQ=${sport} ACK=0 WINDOW=1024 RES=0x00 ${flags} URGP=0`;

interface Joined {
  readonly sessions: [number, string, number][];
  readonly probes: number[];
  readonly counts: [number, number, number][];
}

async function joined(inputs: readonly string[], more = {}): Promise<Joined> {
  const imported = await importInputs(inputs, more);
  assertAdded(imported);
  const sessions: [number, string, number][] = [];
  const probes: number[] = [];
  for (const event of imported.events) {
    if (event.kind === 'session') {
      const { source, destination } = event.session;
      sessions.push([source.port, destination.ip, destination.port]);
    } else if (event.kind === 'probe') probes.push(event.probe.targets[0].port);
  }
  return {
    sessions: sessions.sort((a, b) => a[0] - b[0]),
    probes: probes.sort((a, b) => a - b),
    counts: imported.files.map(({ sessions, probes, merged }) => [sessions, probes, merged]),
  };
}

test('sessions get the destination the packet filter saw, in both orders of files', async () => {
  const sensor = [session(10.2, 1000), session(11.5, 1001), session(12, 1002)].join('\n');
  const filter = [packet(10, 1000, 23), packet(11, 1001, 80), packet(11, 3000, 9)].join('\n');
  const expected = {
    sessions: [
      [1000, '198.51.100.9', 23],
      [1001, '198.51.100.9', 80],
      [1002, '10.0.0.5', 12_345],
    ],
    probes: [9],
  };
  const one = await joined([sensor, filter]);
  assert.deepEqual(one, {
    ...expected,
    counts: [
      [3, 0, 0],
      [1, 1, 2],
    ],
  });
  const other = await joined([filter, sensor]);
  assert.deepEqual(other, {
    ...expected,
    counts: [
      [1, 1, 2],
      [3, 0, 0],
    ],
  });
});

test('a packet beyond the window is none of it, and the window can be said', async () => {
  const inputs = [session(10, 1000), packet(17, 1000, 23)];
  assert.deepEqual((await joined(inputs)).counts, [
    [1, 0, 0],
    [1, 1, 0],
  ]);
  assert.deepEqual((await joined(inputs, { joinWindowMicros: 8e6 })).counts, [
    [1, 0, 0],
    [0, 0, 1],
  ]);
});

test('a scanner with one source port: each session its own packet, by time', async () => {
  const ports = Array.from({ length: 200 }, (_, index) => index);
  const sensor = ports.map((index) => session(100 + index + 0.3, 61_000)).join('\n');
  const filter = ports.map((index) => packet(100 + index, 61_000, 2000 + index)).join('\n');
  const { sessions, probes, counts } = await joined([sensor, filter]);
  assert.deepEqual(
    sessions.map(([, , port]) => port).sort((a, b) => a - b),
    ports.map((index) => 2000 + index),
  );
  assert.deepEqual(
    [probes, counts],
    [
      [],
      [
        [200, 0, 0],
        [0, 0, 200],
      ],
    ],
  );
});

test('of two packets of one port the nearer is taken, whichever came first', async () => {
  for (const [at, port] of [
    [11, 23],
    [12.9, 80],
  ]) {
    const { sessions, probes } = await joined([session(at, 1000), `${packet(10, 1000, 23)}\n${packet(14, 1000, 80)}`]);
    assert.deepEqual([sessions[0][2], probes], [port, [103 - port]]);
  }
});

test('all packets of a connection belong to its session, also when the session is written much later', async () => {
  const sensor = [session(200, 1001), session(10, 1000, '192.0.2.7', 190)].join('\n');
  const filter = [packet(10, 1000, 23), packet(11, 1000, 23, undefined, 'ACK'), packet(189, 1000, 23, undefined, 'ACK PSH')].join(
    '\n',
  );
  assert.deepEqual((await joined([sensor, filter])).counts, [
    [2, 0, 0],
    [0, 0, 3],
  ]);
});

test('a second session of the same packet gets its destination too', async () => {
  const { sessions, counts } = await joined([`${session(10, 1000)}\n${session(12, 1000)}`, packet(10, 1000, 23)]);
  assert.deepEqual(sessions, [
    [1000, '198.51.100.9', 23],
    [1000, '198.51.100.9', 23],
  ]);
  assert.deepEqual(counts, [
    [2, 0, 0],
    [0, 0, 1],
  ]);
});

test('a packet is kept for a session that waits for the next file of packets, though no session comes any more', async () => {
  const sensor = [session(100.4, 1000), session(103.4, 1001)].join('\n');
  const { sessions, probes } = await joined([sensor, packet(100, 1000, 23), packet(103, 1001, 80)]);
  assert.deepEqual([sessions.map(([, , port]) => port), probes], [[23, 80], []]);
});

test('other sources, other files: nothing is joined that does not belong', async () => {
  const inputs = [session(10, 1000, '192.0.2.7'), packet(10, 1000, 23, '192.0.2.8'), packet(10, 1001, 24)];
  const { sessions, probes } = await joined(inputs);
  assert.deepEqual([sessions, probes], [[[1000, '10.0.0.5', 12_345]], [23, 24]]);
});

test('whatever the order of lines and files, the joined ones are the same', async () => {
  const contacts = Array.from({ length: 60 }, (_, index) => ({
    at: 100 + index * 3,
    sport: 2000 + (index % 7),
    dport: 100 + index,
  }));
  const expected = contacts.map(({ dport }) => dport);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(4), { minLength: 60, maxLength: 60 }), fc.boolean(), fc.nat(59), async (late, swap, cut) => {
      // Lines are written when sessions end: some come later than others.
      const lines = contacts.map((contact, index) => ({ ...contact, written: contact.at + late[index] * 20 }));
      lines.sort((a, b) => a.written - b.written);
      const sensor = lines.map(({ at, sport }) => session(at + 0.4, sport)).join('\n');
      const packets = contacts.map(({ at, sport, dport }) => packet(at, sport, dport));
      const filter = [packets.slice(0, cut).join('\n'), packets.slice(cut).join('\n')].filter((text) => text !== '');
      const inputs = swap ? [...filter, sensor] : [sensor, ...filter];
      const { sessions, probes } = await joined(inputs);
      assert.deepEqual(
        sessions.map(([, , port]) => port).sort((a, b) => a - b),
        expected,
      );
      assert.deepEqual(probes, []);
    }),
    { numRuns: 40 },
  );
});

/** Contacts each `apart` seconds, in two logs that are far longer than a piece that is read at once. */
function longLogs(apart: number, lasts: number): { readonly sensor: string[]; readonly filter: string[] } {
  const contacts = Array.from({ length: 4000 }, (_, index) => index);
  return {
    sensor: contacts.map((index) => session(index * apart + 0.3, 1024 + index, undefined, index * apart + lasts)),
    filter: contacts.map((index) => packet(index * apart, 1024 + index, 1 + index)),
  };
}

test('where a log is cut into pieces no session loses its packet, however far apart they are', async () => {
  for (const [apart, lasts] of [
    [40, 0.3],
    [3, 300],
  ]) {
    const { sensor, filter } = longLogs(apart, lasts);
    const { counts } = await joined([sensor.join('\n'), filter.join('\n')]);
    assert.deepEqual(counts, [
      [4000, 0, 0],
      [0, 0, 4000],
    ]);
  }
});

test('a line with a clock of its own does not keep the others from being joined', async () => {
  const { sensor, filter } = longLogs(40, 0.3);
  const year = 366 * 86_400;
  const withAhead = sensor.flatMap((line, index) => (index % 10 === 5 ? [line, session(index - year, 999)] : [line]));
  const shifted = (line: string): string => (line.includes('"sport":999,') ? line : line.replace(/2026-/g, '2023-'));
  const { counts } = await joined([withAhead.map(shifted).join('\n'), filter.map(shifted).join('\n')]);
  assert.deepEqual(counts[1], [0, 0, 4000]);
});
