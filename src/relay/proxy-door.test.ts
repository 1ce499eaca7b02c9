import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { until } from '../../test/support/namespace.ts';
import { endOf } from '../../test/support/relay-bed.ts';
import { silentLog } from '../base/log.ts';
import { closeDescriptor, readSocketName } from '../kernel/libc.ts';
import type { NamedSocket } from '../kernel/named-socket.ts';
import { openProxySockets } from '../kernel/proxy-socket.ts';
import { socketPort } from '../kernel/socket-address.ts';
import { SocketPoller } from '../kernel/socket-poller.ts';
import { type AddressRange, parseAddress, parseRange } from '../model/address.ts';
import { renderProxyV1, renderProxyV2, tlvType } from '../model/proxy-protocol.ts';
import type { ProxyDiversion } from '../model/relayed-service.ts';
import type { Arrival, ArrivedDatagram } from './arrival.ts';
import { ProxyDoor, type ProxyDoorOptions } from './proxy-door.ts';

const persona = { name: 'web', ttl: 64 } as Arrival['persona'];
const flow = {
  transport: 'tcp' as const,
  source: { ip: '192.0.2.7', port: 4711 },
  destination: { ip: '198.51.100.5', port: 80 },
};
const address = parseAddress('127.0.0.1');

interface Bed {
  readonly door: ProxyDoor;
  readonly port: number;
  readonly udpPort: number;
  readonly arrivals: Arrival[];
  readonly datagrams: ArrivedDatagram[];
  connect(): Promise<net.Socket>;
}

async function inBed(
  changed: { diversion?: Partial<ProxyDiversion>; door?: Partial<ProxyDoorOptions> },
  body: (bed: Bed) => Promise<void>,
): Promise<void> {
  assert.ok(address);
  const poller = new SocketPoller();
  const arrivals: Arrival[] = [];
  const datagrams: ArrivedDatagram[] = [];
  const clients: net.Socket[] = [];
  const door = new ProxyDoor({
    poller,
    log: silentLog,
    onConnection: (arrival) => arrivals.push(arrival),
    onDatagram: (arrived) => datagrams.push(arrived),
    ...changed.door,
  });
  const sockets: NamedSocket[] = openProxySockets([{ name: 'front', address, port: 0 }]);
  const portOf = (transport: string): number => {
    const name = new Uint8Array(28);
    readSocketName(sockets.find((one) => one.transport === transport)?.fd ?? -1, name);
    return socketPort(name);
  };
  const bed = {
    door,
    port: portOf('tcp'),
    udpPort: portOf('udp'),
    arrivals,
    datagrams,
    connect: async () => {
      const socket = net.connect({ port: portOf('tcp'), host: '127.0.0.1', allowHalfOpen: true });
      socket.on('error', () => {});
      clients.push(socket);
      await once(socket, 'connect');
      return socket;
    },
  };
  const diversion: ProxyDiversion = {
    kind: 'proxy',
    name: 'front',
    listen: { address, port: 0 },
    allow: [parseRange('127.0.0.0/8') as AddressRange],
    persona: 'web',
    place: { file: 'weir.yaml', line: 1 },
    ...changed.diversion,
  };
  door.setListening(sockets, [{ diversion, persona }]);
  try {
    await body(bed);
  } finally {
    for (const one of clients) one.destroy();
    for (const { takeDescriptor } of arrivals) {
      const fd = takeDescriptor?.();
      if (fd !== undefined) closeDescriptor(fd);
    }
    door.close();
    poller.close();
  }
}

const arrived = (bed: Bed, count = 1): Promise<Arrival> => until('an arrival', () => bed.arrivals[count - 1]);

for (const [version, header] of [
  ['version 1', renderProxyV1(flow)],
  ['version 2', renderProxyV2(flow, [{ type: tlvType.uniqueId, value: Buffer.from('7f3a-1') }], { checksum: true })],
] as const)
  test(`${version}: the flow arrives as it was, also byte by byte, and nothing of it was read`, () =>
    inBed({}, async (bed) => {
      const whole = await bed.connect();
      whole.write(Buffer.concat([header, Buffer.from('and the first words')]));
      const one = await arrived(bed);
      assert.deepEqual([one.source, one.destination], [flow.source, flow.destination]);
      assert.deepEqual([one.network, one.diversion, one.sourceMac], ['proxy front', 'front', undefined]);
      assert.equal(one.uniqueId, version === 'version 2' ? '7f3a-1' : undefined);
      const [words] = await once(one.socket, 'data');
      assert.equal(String(words), 'and the first words');
      one.socket.destroy();

      const slow = await bed.connect();
      slow.setNoDelay(true);
      for (const byte of header) {
        await new Promise((resolve) => slow.write(Buffer.of(byte), resolve));
        await new Promise((resolve) => setImmediate(resolve));
      }
      slow.write('x');
      const two = await arrived(bed, 2);
      assert.deepEqual([two.source, two.destination], [flow.source, flow.destination]);
      assert.equal(String((await once(two.socket, 'data'))[0]), 'x');
      two.socket.destroy();
    }));

test('who is not allow-listed is reset unheard; who sends no header, or a broken one, is reset with the fault counted', async () => {
  await inBed({ diversion: { allow: [parseRange('192.0.2.0/24') as AddressRange] } }, async (bed) => {
    const client = await bed.connect();
    client.write(renderProxyV1(flow));
    assert.equal(await endOf(client), 'ECONNRESET');
    assert.deepEqual([bed.door.counters().strangers, bed.arrivals.length], [1, 0]);
  });
  await inBed({}, async (bed) => {
    const tampered = renderProxyV2(flow, [], { checksum: true });
    tampered[20] ^= 1;
    for (const bytes of ['GET / HTTP/1.1\r\n\r\n', 'PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n', tampered]) {
      const client = await bed.connect();
      client.write(bytes);
      assert.equal(await endOf(client), 'ECONNRESET');
    }
    assert.deepEqual(bed.door.counters().faults, { 'not-proxy': 1, 'bad-port': 1, 'bad-checksum': 1 });
    assert.equal(bed.arrivals.length, 0);
  });
});

test('health checks are closed politely and are nobody’s arrival', () =>
  inBed({}, async (bed) => {
    for (const bytes of [renderProxyV2(undefined), Buffer.from('PROXY UNKNOWN\r\n')]) {
      const client = await bed.connect();
      client.write(bytes);
      assert.equal(await endOf(client), 'end');
    }
    assert.deepEqual([bed.door.counters().local, bed.arrivals.length], [2, 0]);
  }));

test('a slow header, a header cut short, one without end and none at all are bounded in time and number', () =>
  inBed({ door: { headerTimeoutMs: 200, maxWaiting: 8 } }, async (bed) => {
    const slow = await bed.connect();
    const header = renderProxyV2(flow);
    let sent = 0;
    const drip = setInterval(() => {
      slow.write(header.subarray(sent, sent + 1));
      sent += 1;
    }, 40);
    const silent = await bed.connect();
    const [slowEnd, silentEnd] = await Promise.all([endOf(slow), endOf(silent)]);
    clearInterval(drip);
    assert.deepEqual([slowEnd, silentEnd, bed.door.counters().slow], ['ECONNRESET', 'ECONNRESET', 2]);

    const cut = await bed.connect();
    cut.end(renderProxyV2(flow).subarray(0, 20));
    assert.equal(await endOf(cut), 'ECONNRESET');
    assert.equal(bed.door.counters().cut, 1);

    // 60,000 bytes of TLVs announced: refused before they come.
    const endless = await bed.connect();
    const head = renderProxyV2(flow);
    new DataView(head.buffer).setUint16(14, 60_000);
    endless.write(head);
    assert.equal(await endOf(endless), 'ECONNRESET');
    assert.equal(bed.door.counters().faults['too-long'], 1);

    const ends = Array.from({ length: 20 }, async () => endOf(await bed.connect()));
    await until('the oldest gave way', () => bed.door.counters().shed >= 12);
    assert.ok(bed.door.counters().waiting <= 8);
    await Promise.all(ends);
    assert.deepEqual([bed.door.counters().waiting, bed.arrivals.length], [0, 0]);
  }));

test('a header and then silence is an arrival, whose time is its receiver’s', () =>
  inBed({ door: { headerTimeoutMs: 100 } }, async (bed) => {
    const client = await bed.connect();
    client.write(renderProxyV2(flow));
    await arrived(bed);
    assert.deepEqual([bed.door.counters().waiting, bed.door.counters().slow], [0, 0]);
  }));

test('a clock that stands or steps neither prolongs nor ends the wait for a header', () => {
  let now = 1_800_000_000e6;
  return inBed({ door: { headerTimeoutMs: 300, clock: () => now } }, async (bed) => {
    const silent = await bed.connect();
    assert.equal(await endOf(silent), 'ECONNRESET', 'it stands');
    const slow = await bed.connect();
    await until('it waits', () => bed.door.counters().waiting === 1);
    now += 86_400e6;
    slow.write(renderProxyV2(flow));
    await arrived(bed);
    assert.equal(bed.door.counters().slow, 1);
  });
});

test('an inner door takes nothing that names no service', () =>
  inBed({ diversion: { inner: true } }, async (bed) => {
    const nameless = await bed.connect();
    nameless.write(renderProxyV2(flow));
    assert.equal(await endOf(nameless), 'ECONNRESET');
    assert.deepEqual(bed.door.counters().faults, { 'no-service': 1 });
    const named = await bed.connect();
    named.write(renderProxyV2(flow, [{ type: tlvType.service, value: Buffer.from('win') }], { checksum: true }));
    assert.equal((await arrived(bed)).service, 'win');
  }));

test('a datagram of a proxy arrives as it was; it is answered without a header, and with no more than it had', () =>
  inBed({}, async (bed) => {
    const proxy = dgram.createSocket('udp4');
    try {
      const header = renderProxyV2({ ...flow, transport: 'udp' }, [], { checksum: true });
      proxy.send(Buffer.concat([header, Buffer.from('question')]), bed.udpPort, '127.0.0.1');
      proxy.send(Buffer.from('no header'), bed.udpPort, '127.0.0.1');
      const one = await until('a datagram', () => bed.datagrams[0]);
      assert.deepEqual([one.source, one.destination, one.network], [flow.source, flow.destination, 'proxy front']);
      assert.equal(String(Buffer.from(one.payload)), 'question');
      assert.equal(one.reply(Buffer.from('longer than that')), false);
      const answer = once(proxy, 'message');
      assert.equal(one.reply(Buffer.from('answer!')), true);
      assert.equal(String((await answer)[0]), 'answer!');
      assert.equal(one.reply(Buffer.from('ab')), false, 'one byte is left');
      await until('the other was counted', () => bed.door.counters().faults['not-proxy'] === 1);
      assert.equal(bed.datagrams.length, 1);
    } finally {
      proxy.close();
    }
  }));

test('a door that is no longer wanted closes, and what it delivered goes on', () =>
  inBed({}, async (bed) => {
    const client = await bed.connect();
    client.write(renderProxyV1(flow));
    const { socket } = await arrived(bed);
    bed.door.setListening([], []);
    socket.on('data', () => socket.end('still here'));
    client.write('x');
    assert.equal(String((await once(client, 'data'))[0]), 'still here');
    const late = net.connect(bed.port, '127.0.0.1');
    const [error] = (await once(late, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNREFUSED');
    socket.destroy();
  }));
