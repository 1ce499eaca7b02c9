// What the kernel and its files say, as recorded in a namespace (Linux 6.18), is read rightly; what is cut short or is not of that shape gives
// nothing and no exception.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { WeirError } from '../../base/errors.ts';
import { renderAddress } from '../../model/address.ts';
import { IPS_DST_NAT, parseConntrackMessage } from './conntrack-dump.ts';
import { parseContainerNames } from './container-names.ts';
import { parseNamespaceMounts } from './namespace-finder.ts';
import { lacksPolicies, splitPolicies } from './namespace-reader.ts';
import { parsePairedCounters, parseQueueConsumers } from './proc-tables.ts';
import { parseContainer } from './process-reader.ts';
import { parseMachineRoute } from './route-reader.ts';
import { askTransports, parseSocketMessage, renderSocketRequest } from './socket-diag.ts';
import { parseUnixListeners, resolveBelow } from './unix-question.ts';
import { parseUserNames } from './user-names.ts';

const bytes = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, 'hex'));
const message = (body: Uint8Array) => ({ type: 20, flags: 0, sequence: 0, body });

/** A connection of IPv4 that a server bound to [::]:8080 accepted and echoed 300 bytes on. */
const connection = bytes(
  '0a0100001f90a8ca00000000000000000000ffff0a01000200000000000000000000ffff0a0100010000000041ea010000000000000000' +
    '00000000000000000000000000dcaf7409050008000000000008000f00000000000c001500010000000000000006001600120000001c01' +
    '0200010000000007aa01e01c0300409c0000a8050000180200000000000000000000000000000000000000000000780300000000000078' +
    '03000078030000dc05000058fa0000160000000c000000ffffff7f0b000000a805000003000000000000009038000000000000c660a962' +
    '00000000ffffffffffffffff2c010000000000002c01000000000000020000000400000000000000070000000100000001000000b66354' +
    '0c0000000000000000000000000000000000000000000000000000000002000000000000002c0100000000000000000000000000000000' +
    '0000000000000000000000fc00000000010000000000000000000000000000000000000000000000000000000000000000000000000000' +
    '00000000000000',
);
/** That server's listening socket. */
const listening = bytes(
  '0a0a00001f90000000000000000000000000000000000000000000000000000000000000000000000000000040ea010000000000000000' +
    '0000000000ff01000000000000ccaf7409050008000000000005000b000000000008000f00000000000c00150001000000000000000600' +
    '1600120000001c0102000a000000000000000000000000000000000000000000000000000000ff01000000000000000000000000000000' +
    '00000000000000000000000000000000000000000000000000000000000000000000000a00000000000000030000000000000000000000' +
    '00000000ffffffffffffffffffffffffffffffff0000000000000000000000000000000000000000000000000000000000000000000000' +
    '00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000' +
    '00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000' +
    '000000000000000000000000000000',
);
/** The same connection where it was redirected from port 80, with accounting and timestamps. */
const redirected = bytes(
  '020000003400018014000180080001000a010001080002000a0100021c000280050001000600000006000200a8ca000006000300005000' +
    '003400028014000180080001000a010002080002000a0100011c0002800500010006000000060002001f90000006000300a8ca00000800' +
    '0300000001ae080008000000000008000c008ac1d81b08000b0000000001080007000006977f300004802c000180050001000300000005' +
    '0002000a000000050003000a000000060004002300000006000500230000001c0009800c00010000000000000000040c00020000000000' +
    '000002041c000a800c00010000000000000000030c00020000000000000001d0100014800c00010018ea73819ec97e55',
);

describe('messages of inet_diag', () => {
  it('have addresses, counters and identities', () => {
    const socket = parseSocketMessage(message(connection), 'tcp') ?? assert.fail();
    assert.deepEqual(
      [socket.state, renderAddress(socket.local), socket.localPort, renderAddress(socket.remote), socket.family],
      ['ESTABLISHED', '10.1.0.2', 8080, '10.1.0.1', 6],
    );
    assert.deepEqual([socket.tcp?.bytesReceived, socket.tcp?.bytesAcked, socket.tcp?.bytesSent], [300, 300, 300]);
    assert.match(socket.cookie, /^[1-9]\d*$/);
    assert.ok(socket.inode > 0 && socket.cgroupId !== undefined && !socket.transparent);
  });

  it('of a listening socket have its queue', () => {
    const socket = parseSocketMessage(message(listening), 'tcp') ?? assert.fail();
    assert.deepEqual(
      [
        socket.state,
        socket.localPort,
        socket.local.value,
        socket.v6only,
        socket.receiveQueue,
        socket.sendQueue,
        socket.tcp?.bytesSent,
      ],
      ['LISTEN', 8080, 0n, false, 0, 511, 0],
    );
  });

  it('lead to a request that names the same socket', () => {
    const socket = parseSocketMessage(message(connection), 'tcp') ?? assert.fail();
    const request = renderSocketRequest(socket.family, 'tcp', 0xffff, 0, socket);
    // struct inet_diag_sockid: the same 48 bytes in both.
    assert.deepEqual(request.subarray(8, 56), connection.subarray(4, 52));
  });
});

describe('messages of connection tracking', () => {
  it('have both tuples, counters, state and time', () => {
    const entry = parseConntrackMessage(redirected) ?? assert.fail();
    assert.deepEqual(
      [entry.original.destinationPort, entry.reply.sourcePort, entry.protocol, entry.tcpState],
      [80, 8080, 6, 'ESTABLISHED'],
    );
    assert.deepEqual([renderAddress(entry.original.source), renderAddress(entry.reply.destination)], ['10.1.0.1', '10.1.0.1']);
    assert.ok((entry.status & IPS_DST_NAT) !== 0);
    assert.ok(entry.counters && entry.counters.bytesOriginal >= 300 && entry.counters.packetsReply >= 2);
    assert.match(new Date((entry.start ?? 0) / 1000).toISOString(), /^20/);
  });
});

it('a message cut anywhere or filled with anything is no exception', () => {
  fc.assert(
    fc.property(fc.nat(redirected.length), fc.nat(connection.length), fc.uint8Array({ maxLength: 200 }), (cut, other, noise) => {
      parseConntrackMessage(redirected.slice(0, cut));
      parseSocketMessage(message(connection.slice(0, other)), 'tcp');
      parseConntrackMessage(noise);
      parseSocketMessage(message(noise), 'udp');
      const mixed = redirected.slice();
      mixed.set(noise.subarray(0, Math.min(noise.length, mixed.length - (cut % mixed.length))), cut % mixed.length);
      parseConntrackMessage(mixed);
    }),
  );
});

describe('files below /proc', () => {
  it('name containers by their cgroups, of either hierarchy', () => {
    const id = 'ab'.repeat(32);
    assert.deepEqual(parseContainer(`0::/system.slice/docker-${id}.scope\n`), { id, runtime: 'docker' });
    assert.deepEqual(parseContainer(`5:memory:/docker/${id}\n0::/\n`), { id, runtime: 'docker' });
    assert.deepEqual(parseContainer(`0::/user.slice/libpod-${id}.scope/container\n`), { id, runtime: 'podman' });
    assert.deepEqual(parseContainer(`0::/kubepods/besteffort/pod1/cri-containerd-${id}.scope\n`), { id, runtime: 'containerd' });
    assert.deepEqual(parseContainer('0::/lxc.payload.web-1/init.scope\n'), { id: 'web-1', runtime: 'lxc' });
    assert.equal(parseContainer('0::/user.slice/user-1000.slice\n'), undefined);
    assert.equal(parseContainer(`0::/${id.slice(1)}\n`), undefined);
  });

  it('have counters in pairs of lines', () => {
    const counters = parsePairedCounters(
      'Ip: Forwarding InReceives\nIp: 1 20\nIcmpMsg: InType3\nIcmpMsg: 7\nTcp: A B\nUdp: 1 2\n',
    );
    assert.deepEqual(counters, { 'Ip.Forwarding': 1, 'Ip.InReceives': 20, 'IcmpMsg.InType3': 7 });
  });

  it('name who reads which queue', () => {
    assert.deepEqual(parseQueueConsumers('    0   1421     3 2 65531     4     5       42  1\nnot a line\n'), [
      { queue: 0, portId: 1421, waiting: 3, dropped: 9 },
    ]);
  });

  it('lead to namespaces that are mounted, with names written in octal', () => {
    const mounts = parseNamespaceMounts(
      '44 42 0:4 net:[4026532177] /run/netns/blue rw shared:2 - nsfs nsfs rw\n' +
        '45 42 0:4 mnt:[4026532178] /run/mnt rw shared:2 - nsfs nsfs rw\n' +
        '46 42 0:4 net:[4026532179] /run/netns/a\\040b rw shared:2 - nsfs nsfs rw\n',
    );
    assert.deepEqual(mounts, [
      { inode: '4026532177', path: '/run/netns/blue' },
      { inode: '4026532179', path: '/run/netns/a b' },
    ]);
  });

  it('have Unix sockets that listen, by path', () => {
    const text =
      'Num       RefCount Protocol Flags    Type St Inode Path\n' +
      '0000000047225265: 00000002 00000000 00010000 0001 01 158639391 /tmp/hap.sock.22431.tmp\n' +
      '0000000047225266: 00000002 00000000 00010000 0001 01 158639392 @abstract\n' +
      '0000000047225267: 00000003 00000000 00000000 0001 03 158639393 /tmp/connected\n';
    assert.deepEqual(parseUnixListeners(text), [{ inode: 158639391, path: '/tmp/hap.sock.22431.tmp' }]);
    const forged =
      '0000000047225268: 00000002 00000000 00010000 0001 01 158639394 /tmp/x\n' +
      '0: 00000002 00000000 00010000 0001 01 158639391 /run/somebody-elses\n';
    assert.deepEqual(parseUnixListeners(text + forged), [{ inode: 158639394, path: '/tmp/x' }], 'a path with a line end in it');
  });
});

it('a path in a container leads nowhere outside of it', async () => {
  const root = mkdtempSync(join(tmpdir(), 'weir-root-'));
  const server = createServer();
  try {
    mkdirSync(join(root, 'run/haproxy'), { recursive: true });
    mkdirSync(join(root, 'var'));
    symlinkSync('/run', join(root, 'var/run'));
    symlinkSync('../../../../../../run', join(root, 'var/up'));
    symlinkSync('loop', join(root, 'loop'));
    symlinkSync('/etc/passwd', join(root, 'run/secret'));
    writeFileSync(join(root, 'run/file'), '');
    await new Promise<void>((resolve) => server.listen(join(root, 'run/haproxy/s'), resolve));
    const socket = `${root}/run/haproxy/s`;
    for (const path of ['/run/haproxy/s', '/var/run/haproxy/s', '/var/up/haproxy/s', '/../../run/haproxy/s'])
      assert.equal(resolveBelow(root, path), socket, path);
    for (const path of ['/run/secret', '/run/file', '/loop', '/nothing', '/run', '/', '/run/../..'])
      assert.equal(resolveBelow(root, path), undefined, path);
    // What outside is a socket is none of that process's.
    symlinkSync(socket, join(root, 'var/outside'));
    assert.equal(resolveBelow(join(root, 'var'), '/outside'), undefined);
  } finally {
    server.close();
    rmSync(root, { recursive: true });
  }
});

it('names of users, containers and policies are those that are written, without what could move a cursor', () => {
  assert.deepEqual(
    [...parseUserNames('root:x:0:0::/root:/bin/sh\ntoor:x:0:0\nbad\nx:y:z\nwww:x:33:33\n')],
    [
      [0, 'root'],
      [33, 'www'],
    ],
  );
  const names = parseContainerNames(
    JSON.stringify([{ Id: 'a1', Names: ['/web\u001b[2J'] }, { Id: 3 }, null, { Id: 'b2', Names: [] }]),
  );
  assert.deepEqual([...names.keys()], ['a1']);
  assert.ok(!names.get('a1')?.includes('\u001b'));
  assert.equal(parseContainerNames('{}').size, 0);
  assert.deepEqual(splitPolicies('src 10.0.0.0/8 dst 0.0.0.0/0 \n\tdir out action block\nsrc ::/0 dst ::/0 \n\tdir in\n'), [
    'src 10.0.0.0/8 dst 0.0.0.0/0 dir out action block',
    'src ::/0 dst ::/0 dir in',
  ]);
});

it('sockets of a transport the kernel does not tell of are left out, those of the others are not', () => {
  const lack = () => new WeirError('system-call', 'reading sockets: ENOENT', { errno: 'ENOENT' });
  const asked: string[] = [];
  const without =
    (...names: string[]) =>
    (transport: string, family: number): boolean => {
      asked.push(`${transport}${family}`);
      if (names.includes(`${transport}${family}`)) throw lack();
      return true;
    };
  assert.deepEqual(askTransports(['tcp', 'udp'], without('udp4')), { complete: true, missing: ['udp'] });
  assert.deepEqual(asked, ['tcp4', 'tcp6', 'udp4']);
  assert.deepEqual(askTransports(['tcp', 'udp'], without('tcp6', 'udp6')), { complete: true, missing: [] });
  assert.throws(() => askTransports(['tcp', 'udp'], without('tcp4', 'udp4')), { code: 'kernel-missing' });
  assert.throws(() => askTransports(['udp'], without('udp4')), { code: 'kernel-missing' });
  assert.deepEqual(
    askTransports(['tcp', 'udp'], () => false),
    { complete: false, missing: [] },
  );
});

describe('what a kernel has not', () => {
  it('has no IPsec policies without xfrm_user, unless PF_KEY may have written some', () => {
    const failed = (errno: string) => new WeirError('system-call', 'socket failed', { call: 'socket', errno });
    assert.equal(lacksPolicies(failed('EPROTONOSUPPORT'), false), true);
    assert.equal(lacksPolicies(failed('EPROTONOSUPPORT'), true), false);
    assert.equal(lacksPolicies(failed('EMFILE'), false), false);
    assert.equal(lacksPolicies(new Error('EPROTONOSUPPORT'), false), false);
  });
});

describe('a route that its text does not say whole', () => {
  const bytes = (...words: number[]) => new Uint8Array(new Uint32Array(words).buffer);
  /** Lengths here are below 256, and whole words. */
  const attribute = (key: number, value: Uint8Array): number[] => [4 + value.length, 0, key, 0, ...value];
  const partial = (...attributes: number[][]): boolean | undefined => {
    // struct rtmsg: IPv6, /64, table main, static, unicast.
    const header = [10, 64, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
    const body = new Uint8Array([header, attribute(1, new Uint8Array(16)), attribute(4, bytes(2)), ...attributes].flat());
    return parseMachineRoute({ type: 24, flags: 0, sequence: 1, body }, new Map([[2, 'eth0']]))?.partial;
  };
  it('is marked', () => {
    assert.equal(partial(), undefined);
    assert.equal(partial(attribute(12, bytes(0, 0, 0, 0))), undefined, 'cached without an end');
    assert.equal(partial(attribute(12, bytes(0, 0, 900, 0))), true, 'expires');
    assert.equal(partial(attribute(22, bytes(1))), true, 'encap');
    assert.equal(partial(attribute(8, new Uint8Array(attribute(2, bytes(1400))))), undefined, 'mtu is written');
    assert.equal(partial(attribute(8, new Uint8Array(attribute(12, bytes(1))))), true, 'features');
  });
});
