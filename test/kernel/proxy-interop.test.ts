// The PROXY codec against real peers: what HAProxy and nginx send is read, what we write HAProxy, nginx and Wireshark read, over
// IPv4 and IPv6, streams and datagrams.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ProxyReading } from '../../src/model/proxy-header-reader.ts';
import { type ProxyFlow, parseProxyDatagram, renderProxyV1, renderProxyV2, tlvType } from '../../src/model/proxy-protocol.ts';
import { lacksKernelTests, lacksProgram, runCommand, until, withLab } from '../support/namespace.ts';
import { client, nginxStreamModule, ProxyPeers, peer, port } from '../support/proxy-peers.ts';

const skip =
  lacksKernelTests() ||
  lacksProgram('haproxy', 'haproxy') ||
  lacksProgram('nginx', 'nginx-light') ||
  lacksProgram(nginxStreamModule, 'libnginx-mod-stream') ||
  lacksProgram('openssl', 'openssl');

const withPeers = (body: (peers: ProxyPeers) => Promise<void>): Promise<void> =>
  withLab(async (lab) => {
    const peers = await ProxyPeers.open(lab);
    try {
      await body(peers);
    } finally {
      await peers.close();
    }
  });

const headerOf = (reading: ProxyReading | undefined) => {
  assert.equal(reading?.state, 'done', JSON.stringify(reading));
  return reading.header;
};
const text = (bytes: Uint8Array | undefined): string | undefined => bytes && Buffer.from(bytes).toString('latin1');

test('what HAProxy and nginx send is read: true source and destination, and the client’s bytes behind it', { skip }, () =>
  withPeers(async (peers) => {
    let fromPort = 40_000;
    for (const family of [4, 6] as const)
      for (const [to, version] of [
        [port.haproxyV1, 1],
        [port.haproxyV2, 2],
        [port.haproxyBoth, 2],
        [port.nginxV1, 1],
      ] as const) {
        const what = `port ${to}, IPv${family}`;
        fromPort += 1;
        const source = { ip: client[family], port: fromPort };
        const destination = { ip: peer[family], port: to };
        const answer = await peers.touch({ from: source, to: destination, bytes: Buffer.from('hello') });
        assert.equal(answer, 'seen', what);
        const arrival = peers.arrivals.at(-1);
        const header = headerOf(arrival?.reading);
        assert.deepEqual([header.version, header.command], [version, 'proxy'], what);
        assert.deepEqual(header.flow, { transport: 'tcp', source, destination }, what);
        assert.equal(arrival?.payload, 'hello', what);
      }
  }),
);

test('HAProxy’s TLVs are read: checksum, unique id, authority, ALPN and what it says of TLS', { skip }, () =>
  withPeers(async (peers) => {
    for (const [family, fromPort] of [
      [4, 40_100],
      [6, 40_101],
    ] as const) {
      const source = { ip: client[family], port: fromPort };
      const destination = { ip: peer[family], port: port.haproxyTlvs };
      const options = { from: source, to: destination, bytes: Buffer.from('hello'), serverName: 'www.decoy.example' };
      assert.equal(await peers.touch(options), 'seen');
      const arrival = peers.arrivals.at(-1);
      const { flow, tlvs } = headerOf(arrival?.reading);
      assert.deepEqual(flow, { transport: 'tcp', source, destination });
      assert.equal(arrival?.payload, 'hello');
      const value = (type: number) => tlvs.find((tlv) => tlv.type === type)?.value;
      assert.equal(value(tlvType.crc32c)?.length, 4);
      assert.equal(text(value(tlvType.uniqueId)), `id-of-${fromPort}`);
      assert.equal(text(value(tlvType.authority)), 'www.decoy.example');
      assert.equal(text(value(tlvType.alpn)), 'weir');
      // client flags (1), verify result (4), then TLVs of their own (section 2.2.6).
      const ssl = value(tlvType.ssl) ?? new Uint8Array(0);
      assert.equal(ssl[0] & 1, 1, 'connected over TLS');
      assert.match(text(ssl.subarray(5)) ?? '', /TLSv1\.3/);
    }
  }),
);

test('HAProxy’s health checks say LOCAL', { skip }, () =>
  withPeers(async (peers) => {
    const check = await until('HAProxy has checked', () => peers.checks.at(0));
    const header = headerOf(check.reading);
    assert.deepEqual([header.version, header.command, header.flow], [2, 'local', undefined]);
  }),
);

const flowOf = (family: 4 | 6): ProxyFlow => ({
  transport: 'tcp',
  source: { ip: family === 4 ? '198.51.100.77' : '2001:db8:77::1', port: 4711 },
  destination: { ip: family === 4 ? '10.64.0.9' : '2001:db8:64::9', port: 445 },
});
const mixed: ProxyFlow = { ...flowOf(6), source: flowOf(4).source };
const ownTlvs = [
  { type: tlvType.uniqueId, value: Buffer.from('session-1') },
  { type: tlvType.agent, value: Buffer.from('branch-1') },
  { type: tlvType.decoy, value: Buffer.from('decoy') },
];
/** More than nginx before 1.23 takes, whose bound for any header is 107 bytes. */
const longTlvs = [...ownTlvs, { type: tlvType.noop, value: new Uint8Array(1000) }];

test('what we write HAProxy and nginx read, with and without TLVs', { skip }, () =>
  withPeers(async (peers) => {
    const four = '|198.51.100.77|4711|10.64.0.9|445|';
    const six = '|2001:db8:77::1|4711|2001:db8:64::9|445|';
    let fromPort = 41_000;
    for (const [what, bytes, haproxy, nginx] of [
      ['v1, IPv4', renderProxyV1(flowOf(4)), `${four}||`, four],
      ['v1, IPv6', renderProxyV1(flowOf(6)), `${six}||`, six],
      ['v2, IPv4', renderProxyV2(flowOf(4)), `${four}||`, four],
      ['v2, IPv6', renderProxyV2(flowOf(6)), `${six}||`, six],
      ['v2, IPv4, TLVs', renderProxyV2(flowOf(4), ownTlvs, { checksum: true }), `${four}|session-1|`, four],
      ['v2, IPv6, TLVs', renderProxyV2(flowOf(6), ownTlvs, { checksum: true }), `${six}|session-1|`, six],
      [
        ...(['v1, both families', renderProxyV1(mixed)] as const),
        '|::ffff:198.51.100.77|4711|2001:db8:64::9|445|||',
        '|::ffff:198.51.100.77|4711|2001:db8:64::9|445|',
      ],
      [
        ...(['v2, both families', renderProxyV2(mixed)] as const),
        '|::ffff:198.51.100.77|4711|2001:db8:64::9|445|||',
        '|::ffff:198.51.100.77|4711|2001:db8:64::9|445|',
      ],
      ['v2, IPv4, long', renderProxyV2(flowOf(4), longTlvs, { checksum: true }), `${four}|session-1|`, ''],
      ['LOCAL', renderProxyV2(undefined, [], { local: true }), undefined, undefined],
    ] as const)
      for (const family of [4, 6] as const) {
        fromPort += 2;
        const own = { ip: client[family], port: fromPort };
        const request = Buffer.from('GET / HTTP/1.0\r\n\r\n');
        const toHaproxy = { ip: peer[family], port: port.haproxyAccepts };
        const answer = await peers.touch({ from: own, to: toHaproxy, bytes: Buffer.concat([bytes, request]) });
        assert.equal(
          answer.split('\r\n\r\n')[1],
          haproxy ?? `|${own.ip}|${own.port}|${toHaproxy.ip}|${toHaproxy.port}|||`,
          `HAProxy, ${what}: ${answer}`,
        );
        const toNginx = { ip: peer[family], port: port.nginxAccepts };
        const seen = await peers.touch({ from: { ...own, port: fromPort + 1 }, to: toNginx, bytes });
        assert.equal(seen, nginx ?? '|||||', `nginx, ${what}`);
      }
  }),
);

test('nginx proxies datagrams with a v1 line before the first of each flow, which is read when it is expected', { skip }, () =>
  withPeers(async (peers) => {
    const script = `
const dgram = require('node:dgram');
const target = dgram.createSocket('udp4');
const client = dgram.createSocket('udp4');
let count = 0;
target.on('message', (bytes) => {
  console.log(bytes.toString('hex'));
  count += 1;
  if (count === 2) process.exit(0);
  client.send('second', ${port.nginxUdp}, '${peer[4]}');
});
setTimeout(() => process.exit(1), 10000);
target.bind(${port.nginxUdpTarget}, '${peer[4]}', () => client.bind(4711, '${client[4]}', () => client.send('first', ${port.nginxUdp}, '${peer[4]}')));
`;
    const { stdout } = await peers.place.run([process.execPath, '-e', script]);
    const [first, second] = stdout
      .trim()
      .split('\n')
      .map((line) => Buffer.from(line, 'hex'));
    assert.equal(text(second), 'second', 'only the first has a header');
    assert.deepEqual(parseProxyDatagram(first), { fault: 'not-proxy' });
    const parsed = parseProxyDatagram(first, [1]);
    assert.ok('payload' in parsed, JSON.stringify(parsed));
    assert.deepEqual(parsed.header.flow, {
      transport: 'udp',
      source: { ip: client[4], port: 4711 },
      destination: { ip: peer[4], port: port.nginxUdp },
    });
    assert.equal(text(parsed.payload), 'first');
  }),
);

/** A capture of one IPv4 UDP packet; DLT_RAW (101), RFC 791 and 768, no checksums. */
function captureOf(datagram: Uint8Array): Buffer {
  const udp = Buffer.alloc(8);
  udp.writeUInt16BE(7000, 0);
  udp.writeUInt16BE(7001, 2);
  udp.writeUInt16BE(8 + datagram.length, 4);
  const ip = Buffer.alloc(20);
  ip[0] = 0x45;
  ip.writeUInt16BE(28 + datagram.length, 2);
  ip[8] = 64;
  ip[9] = 17;
  ip.set([192, 0, 2, 1, 192, 0, 2, 2], 12);
  const file = Buffer.alloc(40);
  file.writeUInt32LE(0xa1b2c3d4, 0);
  file.writeUInt16LE(2, 4);
  file.writeUInt16LE(4, 6);
  file.writeUInt32LE(65_535, 16);
  file.writeUInt32LE(101, 20);
  file.writeUInt32LE(28 + datagram.length, 32);
  file.writeUInt32LE(28 + datagram.length, 36);
  return Buffer.concat([file, ip, udp, datagram]);
}

test('what we write in front of a datagram, Wireshark reads', { skip: lacksProgram('tshark', 'tshark') }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'weir-datagram-'));
  try {
    for (const family of [4, 6] as const) {
      const flow: ProxyFlow = { ...flowOf(family), transport: 'udp' };
      const file = join(directory, 'one.pcap');
      writeFileSync(file, captureOf(Buffer.concat([renderProxyV2(flow, longTlvs, { checksum: true }), Buffer.from('hello')])));
      const fields = [
        `proxy.src.ipv${family}`,
        'proxy.srcport',
        `proxy.dst.ipv${family}`,
        'proxy.dstport',
        'proxy.v2.protocol',
        'proxy.v2.tlv.type',
      ];
      const { stdout } = await runCommand(['tshark', '-r', file, '-T', 'fields', ...fields.flatMap((field) => ['-e', field])]);
      assert.deepEqual(stdout.trim().split('\t'), [
        ...[flow.source.ip, '4711', flow.destination.ip, '445'],
        // DGRAM; then the types, the checksum first.
        ...['0x02', '0x03,0x05,0xe0,0xe1,0x04'],
      ]);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
