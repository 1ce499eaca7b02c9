// What is read of a machine agrees with what was made in namespaces, and with what ip(8) says of the same: routes and rules line
// by line, the other ends of veth pairs, listeners, connections, tracked connections; one connection is ended and no other.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { createCommandRunner } from '../../src/kernel/command.ts';
import { type ConntrackEntry, IPS_DST_NAT, readConntrack } from '../../src/kernel/machine/conntrack-dump.ts';
import { readMachine } from '../../src/kernel/machine/machine-reader.ts';
import { routeGet } from '../../src/kernel/machine/route-get.ts';
import { destroySocket, readConnections } from '../../src/kernel/machine/socket-diag.ts';
import { readSocketOwners } from '../../src/kernel/machine/socket-owners.ts';
import { type TestNamespace, until, withLab } from '../../src/kernel/namespace-lab.ts';
import { parseAddress, renderAddress } from '../../src/model/address.ts';
import { lacksKernelTests } from '../support/namespace.ts';

const address = (text: string) => parseAddress(text) ?? assert.fail(text);

/** A node program inside; resolves once it wrote a line. */
async function start(namespace: TestNamespace, code: string): Promise<number> {
  const child = namespace.spawn([process.execPath, '-e', code]);
  let complaint = '';
  child.stderr?.on('data', (part) => {
    complaint += part;
  });
  const [line] = await Promise.race([once(child.stdout ?? assert.fail(), 'data'), once(child, 'exit')]);
  assert.ok(line instanceof Buffer, complaint);
  return child.pid ?? assert.fail();
}

test('routes and rules are those of ip(8), line by line', { skip: lacksKernelTests() }, () =>
  withLab(async (lab) => {
    const host = await lab.namespace('host');
    const peer = await lab.namespace('peer');
    await lab.join({ namespace: host, link: 'v0', addresses: ['10.1.0.1/24', 'fd01::1/64'] }, { namespace: peer, link: 'v1' });
    await host.ip(
      [
        'link add v8 type veth peer name v9',
        'link set v8 up',
        'route add default via 10.1.0.2 dev v0 proto static metric 100',
        'route add 10.2.0.0/16 via 10.1.0.2 src 10.1.0.1 mtu lock 1300 advmss 1200',
        'route add 10.3.0.0/16 nexthop via 10.1.0.2 dev v0 weight 3 nexthop via 10.1.0.3 dev v0 onlink',
        'route add blackhole 10.4.0.0/16',
        'route add prohibit 10.5.0.0/16 metric 7',
        'route add unreachable 10.6.0.0/16 table 77',
        'route add throw 10.7.0.0/16 table 300',
        'route add 10.8.0.0/24 dev v8 proto zebra scope link',
        'route add local 10.9.0.0/24 dev lo table local proto 87',
        'route add default via inet6 fd01::2 dev v0 table 5',
        'route add fd02::/64 via fd01::2 dev v0 metric 20 proto bird',
        'route add blackhole fd03::/64',
        'rule add from 10.1.0.0/24 to 10.9.9.9 lookup 77 priority 100',
        'rule add not fwmark 0x10/0xff iif v0 lookup 300 priority 101',
        'rule add oif v8 fwmark 0x5 prohibit priority 102',
        'rule add to 10.77.0.0/16 blackhole priority 103',
        'rule add ipproto tcp dport 443 lookup 5 priority 104 proto static',
        'rule add uidrange 1000-2000 sport 1000-2000 lookup main priority 105',
        'rule add from all lookup main suppress_prefixlength 0 priority 106',
        'rule add goto 32766 priority 107',
      ].join('\n'),
    );
    await host.run(['ip', '-6', 'rule', 'add', 'from', 'fd01::/64', 'lookup', '77', 'priority', '99']);
    const { namespaces } = await readMachine({ netns: host.name, parts: [] });
    assert.equal(namespaces.length, 1);
    const [read] = namespaces;
    const { namespaces: listed } = await readMachine({ inodes: [read.inode, '1'], parts: [] });
    assert.deepEqual(
      listed.map(({ inode }) => inode),
      [read.inode],
      'these alone, and those that are there',
    );
    const lines = async (argv: readonly string[]): Promise<string[]> =>
      (await host.run(argv)).stdout
        .split('\n')
        .map((line) => line.replace(/\t/g, ' ').replace(/ +/g, ' ').trim())
        .filter((line) => line !== '');
    // Paths of one route are printed on lines of their own.
    const joined = (await lines(['ip', '-4', 'route', 'show', 'table', 'all']))
      .join('\n')
      .replace(/\nnexthop/g, ' nexthop')
      .split('\n');
    const printed = [...joined, ...(await lines(['ip', '-6', 'route', 'show', 'table', 'all']))];
    assert.deepEqual(read.routes.map(({ text }) => text).sort(), printed.sort());
    const rules = [...(await lines(['ip', '-4', 'rule'])), ...(await lines(['ip', '-6', 'rule']))];
    assert.deepEqual(
      read.rules.map(({ text }) => text),
      rules,
    );
    const marked = read.rules.find(({ priority }) => priority === 101);
    assert.deepEqual([marked?.mark, marked?.inverted, marked?.iif], [{ value: 16, mask: 255 }, true, 'v0']);

    const ask = (to: string, more = {}) => {
      const answer = routeGet(host.path, { to: address(to), ...more });
      return answer.kind === 'none' ? answer.errno : `${answer.device} ${answer.via ? renderAddress(answer.via) : ''}`;
    };
    assert.equal(ask('10.1.0.9'), 'v0 ');
    assert.equal(ask('192.0.2.1'), 'v0 10.1.0.2');
    assert.equal(ask('10.4.0.1'), 'EINVAL');
    assert.equal(ask('10.5.0.1'), 'EACCES');
    assert.equal(ask('10.77.1.1'), 'EINVAL');
    assert.equal(ask('fd02::5'), 'v0 fd01::2');
    assert.equal(ask('fd03::5'), 'EINVAL');
    assert.equal(ask('fd99::5'), 'ENETUNREACH');
    assert.equal(ask('10.1.0.9', { iif: 'nothing' }), 'ENODEV');
    // With a device asked for the kernel takes what it has no route to for a neighbour there.
    assert.equal(ask('10.1.0.9', { oif: 'v8', mark: 5 }), 'v8 ');
    // As it comes in, from a source that is not there.
    const arriving = () => ask('10.1.0.1', { from: address('10.8.0.7'), iif: 'v0' });
    for (const [strictness, outcome] of [
      ['0', 'lo '],
      ['1', 'EINVAL'],
    ]) {
      for (const device of ['all', 'v0']) await host.setSysctl(`net/ipv4/conf/${device}/rp_filter`, strictness);
      assert.equal(arriving(), outcome);
    }
    assert.throws(() => routeGet('/run/netns/nothing-here', { to: address('10.1.0.9') }), { code: 'not-found' });
  }),
);

test(
  'sockets, their holders and tracked connections are told, and one connection can be ended',
  { skip: lacksKernelTests() },
  () =>
    withLab(async (lab) => {
      const server = await lab.namespace('server');
      const client = await lab.namespace('client');
      await lab.join(
        { namespace: server, link: 's0', addresses: ['10.1.0.1/24'] },
        { namespace: client, link: 'c0', addresses: ['10.1.0.2/24'] },
      );
      await server.setSysctl('net/netfilter/nf_conntrack_acct', '1');
      await server.nft('table ip n { chain p { type nat hook prerouting priority -100; tcp dport 80 redirect to :8080; }; }');
      const holder = await start(
        server,
        `const net = require('node:net'), dgram = require('node:dgram');
       const s = net.createServer((c) => { c.on('error', () => {}); c.on('data', (d) => c.write(d)); });
       s.listen(8080, '0.0.0.0', 37, () => { const u = dgram.createSocket('udp4'); u.bind(5353, '10.1.0.1', () => console.log('up')); });
       net.createServer().listen({ port: 9090, host: '::', ipv6Only: true });`,
      );
      await start(
        client,
        `const net = require('node:net');
       let up = 0;
       for (const port of [80, 8080]) {
         const c = net.connect(port, '10.1.0.1', () => c.write('x'.repeat(5000)));
         let got = 0;
         c.on('data', (d) => { got += d.length; if (got === 5000 && ++up === 2) console.log('up'); });
         c.on('error', () => {});
       }`,
      );
      const machine = await readMachine({ dockerSocket: '/nonexistent' });
      const one = machine.namespaces.find(({ name }) => name === server.name) ?? assert.fail();
      const other = machine.namespaces.find(({ name }) => name === client.name) ?? assert.fail();
      const veth = one.links.find(({ name }) => name === 's0');
      assert.equal(veth?.peer?.netns, other.inode);
      assert.equal(other.links.find(({ index }) => index === veth?.peer?.index)?.name, 'c0');
      assert.equal(machine.namespaces[0].path, undefined);
      const listener = (port: number) => one.listeners.find((found) => found.port === port) ?? assert.fail();
      assert.deepEqual(listener(8080).pids, [holder]);
      assert.deepEqual(listener(8080).acceptQueue, { waiting: 0, limit: 37 });
      assert.deepEqual([listener(9090).v6only, listener(9090).address.family], [true, 6]);
      assert.deepEqual([listener(5353).transport, renderAddress(listener(5353).address)], ['udp', '10.1.0.1']);
      assert.ok(machine.processes.some(({ pid, netns, comm }) => pid === holder && netns === one.inode && comm === 'node'));
      assert.ok(one.counters['Tcp.PassiveOpens'] >= 2 && one.counters['TcpExt.ListenOverflows'] === 0);
      assert.equal(
        one.sysctls['net/ipv4/conf/s0/rp_filter'],
        (await createCommandRunner(server.path).readProc('/proc/sys/net/ipv4/conf/s0/rp_filter'))?.trim(),
      );
      assert.ok(one.neighbours.some(({ device, address: { value } }) => device === 's0' && value === 0x0a010002n));

      const read = () => readConnections(server.path, { transports: ['tcp'], states: ['ESTABLISHED'], counters: true });
      const { sockets, complete } = read();
      assert.ok(complete);
      assert.equal(sockets.length, 2);
      for (const { tcp, localPort } of sockets)
        assert.deepEqual([tcp?.bytesReceived, tcp?.bytesAcked, localPort], [5000, 5000, 8080]);
      assert.deepEqual(
        readSocketOwners({ pids: [holder] })
          .of(sockets[0].inode)
          .map(({ pid }) => pid),
        [holder],
      );
      assert.equal(readConnections(server.path, { limit: 1 }).complete, false);

      const entries: ConntrackEntry[] = [];
      assert.ok(readConntrack(server.path, (entry) => void entries.push(entry)));
      const redirected = entries.find(({ original }) => original.destinationPort === 80) ?? assert.fail();
      assert.equal(redirected.reply.sourcePort, 8080);
      assert.ok((redirected.status & IPS_DST_NAT) !== 0);
      assert.equal(redirected.tcpState, 'ESTABLISHED');
      assert.ok((redirected.counters?.bytesOriginal ?? 0) > 5000, 'accounting is on');
      assert.equal(
        readConntrack(server.path, () => {}, 1),
        false,
      );

      const [victim, survivor] = sockets;
      assert.deepEqual(destroySocket(server.path, victim), { kind: 'destroyed' });
      await until('one is left', () => read().sockets.length === 1);
      assert.equal(read().sockets[0].cookie, survivor.cookie);
      assert.deepEqual(destroySocket(server.path, victim), { kind: 'gone' });
      const [listening] = readConnections(server.path, { transports: ['tcp'], states: ['LISTEN'] }).sockets;
      assert.deepEqual(destroySocket(server.path, listening), { kind: 'refused', errno: 'LISTEN' });
    }),
);
