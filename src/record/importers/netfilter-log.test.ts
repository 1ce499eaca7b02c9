import assert from 'node:assert/strict';
import test from 'node:test';
import type { ProbeRecord } from '../../model/event.ts';
import { importContract, importInputs } from './import-contract.ts';
import { decodeTcpOptions, parseLoggedPacket } from './logged-packet.ts';
import { netfilterLogFormat } from './netfilter-log.ts';

const mac = '02:00:00:00:00:01:02:00:00:00:00:99:08:00';
const syn = (port: number, more = ''): string =>
  `weir: IN=eth0 OUT= MAC=${mac} SRC=192.0.2.7 DST=198.51.100.9 LEN=60 TOS=0x00 PREC=0x00 TTL=52 ID=54321 DF PROTO=TCP SPT=40000 DPT=${port} ${more}WINDOW=64240 RES=0x00 SYN URGP=0`;

const sample = [
  `Mar  4 05:06:07 sensor kernel: [12345.678901] ${syn(22)}`,
  `<4>Mar 14 05:06:08 sensor kernel: ${syn(23)}`,
  `2026-03-04T05:06:09.123456+01:00 sensor kernel: ${syn(80)}`,
  `<4>1 2026-03-04T05:06:10Z sensor kernel - - - [1.5] ${syn(81)}`,
  `[Wed Mar  4 05:06:11 2026] ${syn(443)}`,
  `Wed 2026-03-04 05:06:12 UTC sensor kernel: ${syn(444)}`,
  `1772600773.250000 sensor kernel: ${syn(445)}`,
  `{"__REALTIME_TIMESTAMP":"1772600774000001","MESSAGE":${JSON.stringify(syn(3389))},"_HOSTNAME":"sensor"}`,
  '__CURSOR=s=1;i=2',
  '__REALTIME_TIMESTAMP=1772600775000000',
  'PRIORITY=4',
  `MESSAGE=${syn(5900)}`,
  'Mar  4 05:06:16 sensor kernel: IN=eth0 OUT= SRC=2001:0db8:0000:0000:0000:0000:0000:0007 DST=2001:0db8:0000:0000:0000:0000:0000:0009 LEN=48 TC=0 HOPLIMIT=50 FLOWLBL=0 PROTO=UDP SPT=5353 DPT=161 LEN=8',
  'Mar  4 05:06:17 sensor kernel: IN=eth0 OUT= SRC=192.0.2.7 DST=198.51.100.9 LEN=84 TOS=0x00 PREC=0x00 TTL=52 ID=1 PROTO=ICMP TYPE=8 CODE=0 ID=77 SEQ=1',
  `Mar  4 05:06:18 sensor kernel: ${syn(22)}`,
].join('\n');

importContract(netfilterLogFormat, sample);

const probesOf = async (text: string, more = {}): Promise<ProbeRecord[]> => {
  const { events } = await importInputs([text], { format: netfilterLogFormat, ...more });
  return events.map((event) => (event.kind === 'probe' ? event.probe : assert.fail()));
};

test('LOG lines: every way a time is written', async () => {
  const probes = await probesOf(sample);
  const at = (ms: number, micros = 0): number => ms * 1000 + micros;
  assert.deepEqual(
    probes.map(({ start }) => start),
    [
      at(Date.UTC(2026, 2, 4, 5, 6, 7)),
      at(Date.UTC(2026, 2, 14, 5, 6, 8)),
      at(Date.UTC(2026, 2, 4, 4, 6, 9), 123_456),
      at(Date.UTC(2026, 2, 4, 5, 6, 10)),
      at(Date.UTC(2026, 2, 4, 5, 6, 11)),
      at(Date.UTC(2026, 2, 4, 5, 6, 12)),
      1_772_600_773_250_000,
      1_772_600_774_000_001,
      1_772_600_775_000_000,
      at(Date.UTC(2026, 2, 4, 5, 6, 16)),
      at(Date.UTC(2026, 2, 4, 5, 6, 17)),
      at(Date.UTC(2026, 2, 4, 5, 6, 18)),
    ],
  );
  assert.deepEqual(probes.map(({ targets: [{ port, transport, kind }] }) => `${port}/${transport} ${kind}`).slice(-4), [
    '5900/tcp half-open',
    '161/udp filtered',
    '0/icmp echo',
    '22/tcp half-open',
  ]);
  assert.equal(probes[9].source, '2001:db8::7');
  assert.equal(probes[0].sourceMac, '02:00:00:00:00:99');
});

test('LOG lines: a year nobody wrote is the latest that is not after the file, and is said', async () => {
  const december = `Dec 31 23:59:59 s kernel: ${syn(1)}\nJan  1 00:00:01 s kernel: ${syn(2)}\nFeb 29 01:00:00 s kernel: ${syn(3)}`;
  const years = async (more = {}): Promise<number[]> =>
    (await probesOf(december, more)).map(({ start }) => new Date(start / 1000).getUTCFullYear());
  assert.deepEqual(await years(), [2025, 2026, 2024]);
  // What was said is the first line's year; a log goes on over New Year.
  assert.deepEqual(await years({ year: 2015 }), [2015, 2016, 2016]);
  const { files } = await importInputs([december], { format: netfilterLogFormat });
  assert.match(files[0].notes.join(), /no year: 2025/);
});

test('LOG lines: a zone that was said, and a boot that was', async () => {
  const [{ start }] = await probesOf(`Mar  4 05:06:07 s kernel: ${syn(1)}`, { zoneMinutes: 120 });
  assert.equal(start, Date.UTC(2026, 2, 4, 3, 6, 7) * 1000);
  const dmesg = `[   61.500000] ${syn(1)}`;
  const [probe] = await probesOf(dmesg, { bootedAt: Date.UTC(2026, 2, 4) * 1000 });
  assert.equal(probe.start, Date.UTC(2026, 2, 4, 0, 1, 1, 500) * 1000);
  const { rejects } = await importInputs([dmesg], { format: netfilterLogFormat });
  assert.match(rejects[0].reason, /--booted/);
});

test('LOG lines: a SYN sent again is merged, another connection is not', async () => {
  const line = (second: number, more: string): string =>
    `Mar  4 05:00:${String(second).padStart(2, '0')} s kernel: ${syn(22, more)}`;
  const counts = async (lines: string[]): Promise<[number, number]> => {
    const { files } = await importInputs([lines.join('\n')], { format: netfilterLogFormat });
    return [files[0].sessions, files[0].merged];
  };
  const backOff = [0, 1, 3, 7, 15, 31];
  assert.deepEqual(await counts(backOff.map((second) => line(second, 'SEQ=77 ACK=0 '))), [1, 5]);
  assert.deepEqual(await counts([line(0, 'SEQ=77 ACK=0 '), line(1, 'SEQ=78 ACK=0 ')]), [2, 0]);
  assert.deepEqual(await counts([0, 1, 3, 7, 20].map((second) => line(second, ''))), [2, 3]);
  const later = line(5, 'SEQ=80 ACK=9 ').replace('SYN', 'ACK PSH');
  assert.deepEqual(await counts([line(0, 'SEQ=77 ACK=0 '), later, later.replace('ACK PSH', 'ACK FIN')]), [1, 2]);
});

test('LOG lines: kinds as their flags say', async () => {
  const kinds = ['SYN', '', 'FIN', 'FIN PSH URG', 'ACK', 'RST', 'ACK SYN', 'URG PSH FIN'];
  const probes = await probesOf(
    kinds.map((flags, index) => `Mar  4 05:00:00 s kernel: ${syn(1000 + index).replace(' SYN ', ` ${flags} `)}`).join('\n'),
  );
  assert.deepEqual(
    probes.map(({ targets }) => targets[0].kind),
    ['half-open', 'null', 'fin', 'xmas', 'ack', 'ack', 'ack', 'xmas'],
  );
});

test('LOG lines: what a SYN tells, where sequence and options were logged', async () => {
  const text = `${syn(22, 'SEQ=305419896 ACK=0 ')} OPT (020405B40402080A0011223300000000010303070)`.replace('70)', '7)');
  const [{ syn: details }] = await probesOf(`Mar  4 05:00:00 s kernel: ${text}`);
  assert.deepEqual(details, {
    ttl: 52,
    ipId: 54_321,
    doNotFragment: true,
    window: 64_240,
    sequence: 305_419_896,
    options: 'mss,sok,ts,nop,ws',
    mss: 1460,
    windowScale: 7,
  });
  for (const hex of ['', '02', '0200', '02ff', '0303', 'ffff', '00'.repeat(40), '01'.repeat(40)]) decodeTcpOptions(hex);
});

test('LOG lines: as Docker, Filebeat, Fluentd and rsyslog keep them', async () => {
  const own = `Mar  4 05:06:07 sensor kernel: ${syn(22)}`;
  for (const wrapped of [
    { log: `${own}\n`, stream: 'stdout', time: '2026-03-05T00:00:00.5Z' },
    { '@timestamp': '2026-03-05T00:00:00.500Z', message: own },
    { '@timestamp': '2026-03-05T00:00:00.500Z', event: { original: own } },
    { '@timestamp': '2026-03-04T05:06:07Z', host: 'sensor', message: `[   12.345678] ${syn(22)}` },
    { timestamp: '2026-03-04T06:06:07+01:00', program: 'kernel', message: syn(22) },
  ]) {
    const [{ start, targets }] = await probesOf(JSON.stringify(wrapped));
    assert.deepEqual([start, targets[0].port], [1_772_600_767_000_000, 22], JSON.stringify(wrapped));
  }
});

test('LOG lines: the year of one that has none is that of whoever forwarded it', async () => {
  const wrapped = { '@timestamp': '2019-01-01T00:00:00.5Z', message: `Dec 31 23:59:58 sensor kernel: ${syn(22)}` };
  const [{ start }] = await probesOf(JSON.stringify(wrapped));
  assert.equal(new Date(start / 1000).toISOString(), '2018-12-31T23:59:58.000Z');
});

test('LOG lines: what is no packet, and packets that are no probe, are said', () => {
  const wrong: [string, RegExp][] = [
    ['IN=eth0 SRC=1.2.3 DST=1.2.3.4 PROTO=TCP', /addresses/],
    ['IN=eth0 SRC=1.2.3.4 DST=1.2.3.5 PROTO=TCP SPT=1', /ports/],
    ['IN=eth0 SRC=1.2.3.4 DST=1.2.3.5 FRAG:64 PROTO=TCP', /ports/],
    ['IN=eth0 SRC=1.2.3.4 DST=1.2.3.5 LEN=40 TOS=0x00 PROTO=TCP SPT=1 DPT=44', /ends within/],
    ['IN=eth0 SRC=1.2.3.4 DST=1.2.3.5 PROTO=2', /not recorded/],
    ['SRC=1.2.3.4 DST=1.2.3.5', /protocol/],
  ];
  for (const [text, reason] of wrong) {
    const packet = parseLoggedPacket(text);
    assert.match(typeof packet === 'string' ? packet : assert.fail(text), reason);
  }
});

test('LOG lines: ICMP that asks for nothing belongs to something else', () => {
  const error = 'IN=eth0 SRC=1.2.3.4 DST=1.2.3.5 PROTO=ICMP TYPE=3 CODE=1 [SRC=9.9.9.9 DST=8.8.8.8 PROTO=UDP SPT=1 DPT=2 ]';
  assert.equal(parseLoggedPacket(error), undefined);
  assert.equal(parseLoggedPacket('IN=eth0 SRC=::1 DST=::2 PROTO=ICMPv6 TYPE=135 CODE=0'), undefined);
});

test('LOG lines: a year before the month, slashes, and what grep puts before a line', async () => {
  const when = 1_772_600_767_000_000;
  for (const stamp of [
    '2026 Mar  4 05:06:07',
    '2026/03/04 05:06:07',
    'kern.log:Mar  4 05:06:07',
    '/var/log/kern.log.1:17:Mar  4 05:06:07',
    '17:2026-03-04T05:06:07Z',
  ])
    assert.equal((await probesOf(`${stamp} sensor kernel: ${syn(22)}\n`))[0].start, when, stamp);
});

test('LOG lines: a prefix of the rule cannot pretend to be the packet', () => {
  const packet = parseLoggedPacket(
    'DPT=1 SPT=2 PROTO=UDP IN=x IN=eth0 OUT= SRC=192.0.2.1 DST=192.0.2.2 PROTO=TCP SPT=5 DPT=6 SYN',
  );
  assert.ok(packet && typeof packet !== 'string');
  assert.deepEqual([packet.transport, packet.sourcePort, packet.port], ['tcp', 5, 6]);
});
