// From a flow to its process in a made-up machine: each way a flow can be joined, and each reason why it cannot, said as it is.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ConntrackEntry } from '../../kernel/machine/conntrack-dump.ts';
import type { SocketEntry, TcpState } from '../../kernel/machine/socket-diag.ts';
import { SocketOwners } from '../../kernel/machine/socket-owners.ts';
import { parseAddress, renderAddress } from '../../model/address.ts';
import type { Machine, MachineLink, MachineNamespace } from '../../model/machine.ts';
import type { Transport } from '../../model/session.ts';
import { type Endpoint, type Flow, flowKey, renderFlow } from './flow.ts';
import { KeptOrigins } from './origin-book.ts';
import { traceFlow } from './trace-flow.ts';
import { World, type WorldSource } from './world.ts';

const address = (text: string) => parseAddress(text) ?? assert.fail(text);
/** `10.0.0.1:80`. */
const end = (text: string): Endpoint => {
  const colon = text.lastIndexOf(':');
  return { address: address(text.slice(0, colon)), port: Number(text.slice(colon + 1)) };
};
const flow = (a: string, b: string, protocol = 6): Flow => ({ protocol, a: end(a), b: end(b) });

const link = (index: number, name: string, addresses: string[], more: Partial<MachineLink> = {}): MachineLink => ({
  index,
  name,
  mac: '',
  mtu: 1500,
  up: true,
  operstate: 'up',
  addresses: addresses.map((text) => ({ address: address(text), prefixLength: 24, usable: true })),
  ...more,
});
const namespace = (inode: string, name: string, links: MachineLink[]): MachineNamespace =>
  ({ inode, name, links, routes: [], rules: [], listeners: [], path: `/run/netns/${name}` }) as unknown as MachineNamespace;

let inodes = 100;
function socket(
  transport: Transport,
  state: TcpState,
  local: string,
  remote: string,
  more: Partial<SocketEntry> = {},
): SocketEntry {
  inodes += 1;
  const own = end(local);
  const other = end(remote);
  return {
    transport,
    family: own.address.family,
    state,
    local: own.address,
    localPort: own.port,
    remote: other.address,
    remotePort: other.port,
    inode: inodes,
    cookie: String(inodes),
    uid: 33,
    receiveQueue: 0,
    sendQueue: 0,
    v6only: false,
    transparent: false,
    device: 0,
    ...more,
  };
}

/** host (uplink eth0, bridge br0) with the namespace `box` on the bridge. */
class Place {
  readonly host = namespace('1', '', [
    link(2, 'eth0', ['192.0.2.2']),
    link(3, 'br0', ['172.18.0.1'], { kind: 'bridge' }),
    link(4, 'veth0', [], { kind: 'veth', master: 'br0', peer: { index: 2, netns: '2' } }),
    link(5, 'wg0', ['10.9.0.1'], { kind: 'wireguard' }),
  ]);
  readonly box = namespace('2', 'box', [link(2, 'eth0', ['172.18.0.2'], { kind: 'veth', peer: { index: 4, netns: '1' } })]);
  readonly owners = new SocketOwners();
  readonly sockets: Record<string, SocketEntry[]> = { 1: [], 2: [] };
  readonly tracked = new Map<string, ConntrackEntry>();
  readonly origins = new KeptOrigins();
  /** Of processes that are gone. */
  readonly gone = new Set<number>();
  tracks = true;

  hold(netns: MachineNamespace, entry: SocketEntry, pid: number, fd = 5): SocketEntry {
    this.sockets[netns.inode].push(entry);
    if (pid > 0) this.owners.add(pid, fd, entry.inode);
    return entry;
  }

  /** The original tuple and the reply's, in the kernel's order. */
  translate(original: Flow, reply: Flow): void {
    const tuple = ({ a, b }: Flow) => ({
      source: a.address,
      sourcePort: a.port,
      destination: b.address,
      destinationPort: b.port,
    });
    const entry = {
      protocol: original.protocol,
      original: tuple(original),
      reply: tuple(reply),
      status: 0,
      mark: 0,
      zone: 0,
      timeoutSeconds: 9,
    };
    for (const one of [original, reply]) this.tracked.set(flowKey(one), entry);
  }

  trace(seen: Flow, device = 'eth0', from = this.host) {
    const source: WorldSource = {
      sockets: ({ inode }) => this.sockets[inode],
      conntrack: ({ inode }, asked) => {
        if (!this.tracks) throw new Error('needs CAP_NET_ADMIN');
        return inode === '1' ? this.tracked.get(flowKey(asked)) : undefined;
      },
      route: ({ inode }, to) => {
        const text = renderAddress(to);
        const inner = text.startsWith('172.18.');
        const device = inode === '2' ? 'eth0' : inner ? 'br0' : 'eth0';
        const via =
          inode === '2' && !inner
            ? address('172.18.0.1')
            : inner || text.startsWith('192.0.2.')
              ? undefined
              : address('192.0.2.1');
        return { kind: 'route', route: {} as never, device, ...(via ? { via } : {}) };
      },
      owners: () => this.owners,
      process: (pid) =>
        this.gone.has(pid)
          ? undefined
          : { pid, comm: `program-${pid}`, uid: 33, netns: pid >= 200 ? '2' : '1', exe: `/bin/program-${pid}` },
      // Those from 100 on began late.
      begunAt: (pid) => pid,
      userName: (uid) => (uid === 33 ? 'www-data' : undefined),
    };
    const machine = { namespaces: [this.host, this.box], processes: [], unseen: [] } as unknown as Machine;
    const world = new World(machine, source, this.origins);
    return { ...traceFlow(world, from, seen, device), unseen: [...world.unseen.keys()] };
  }
}

describe('a flow of this namespace', () => {
  it('is its socket’s, from either end, with process and user', () => {
    const place = new Place();
    place.hold(place.host, socket('tcp', 'ESTABLISHED', '192.0.2.2:40000', '198.51.100.1:443'), 7, 12);
    for (const seen of [flow('192.0.2.2:40000', '198.51.100.1:443'), flow('198.51.100.1:443', '192.0.2.2:40000')]) {
      const { path, attributed } = place.trace(seen);
      assert.ok(attributed);
      assert.deepEqual(
        path.map(({ kind, pid, fd, user, score }) => [kind, pid, fd, user, score]),
        [
          ['wire', undefined, undefined, undefined, 1],
          ['process', 7, 12, 'www-data', 1],
        ],
      );
    }
  });

  it('is that of who listens when it is over, and of nobody else’s port', () => {
    const place = new Place();
    place.hold(place.host, socket('tcp', 'LISTEN', '0.0.0.0:80', '0.0.0.0:0'), 8);
    place.hold(place.host, socket('tcp', 'SYN_RECV', '192.0.2.2:80', '198.51.100.9:1', { inode: 0 }), 0);
    const over = place.trace(flow('198.51.100.1:5000', '192.0.2.2:80'));
    assert.deepEqual([over.path[1].pid, over.path[1].listens, over.path[1].score], [8, 80, 0.9]);
    const waiting = place.trace(flow('198.51.100.9:1', '192.0.2.2:80'));
    assert.deepEqual([waiting.path[1].pid, waiting.attributed], [8, true]);
    // The same port number at the far end is not ours.
    const other = place.trace(flow('198.51.100.1:80', '192.0.2.2:81'));
    assert.equal(other.attributed, false);
    assert.match(other.reason ?? '', /ended before it was looked for, and nobody listens/);
  });

  it('of UDP is what is bound, the more specific first, and shared ports say so', () => {
    const place = new Place();
    place.hold(place.host, socket('udp', 'CLOSE', '[::]:53'.replace(/[[\]]/g, ''), ':::0'), 1);
    place.hold(place.host, socket('udp', 'CLOSE', '192.0.2.2:53', '0.0.0.0:0'), 2);
    assert.equal(place.trace(flow('198.51.100.1:9', '192.0.2.2:53', 17)).path[1].pid, 2);
    place.hold(place.host, socket('udp', 'CLOSE', '192.0.2.2:53', '0.0.0.0:0'), 3);
    const shared = place.trace(flow('198.51.100.1:9', '192.0.2.2:53', 17)).path[1];
    assert.equal(shared.score, 0.5);
    assert.match(shared.join, /one of 2 that share the port/);
    // On the wildcard of IPv6, for an address of IPv4.
    assert.equal(place.trace(flow('198.51.100.1:9', '10.9.0.1:53', 17)).path[1].pid, 1);
  });

  it('is that of who was seen to connect, when no table has it any more, and of no stranger', () => {
    const [from, to] = ['192.0.2.2:40001', '198.51.100.1:443'];
    const gone = flow(from, to);
    const made = (pid: number, comm: string, net: string) => {
      const { a, b } = gone;
      return { local: a.address, localPort: a.port, remote: b.address, remotePort: b.port, pid, comm, net };
    };
    const trace = (before: (place: Place) => void) => {
      const place = new Place();
      before(place);
      const { path, attributed } = place.trace(gone);
      const [, end] = path;
      return { attributed, pid: end?.pid, exe: end?.exe, score: end?.score, join: end?.join ?? '' };
    };
    // A thread with a name of its own, of a process that was there before.
    const threaded = trace(({ origins }) => origins.add([made(9, 'worker', 'a')], 50));
    assert.deepEqual([threaded.attributed, threaded.pid, threaded.exe, threaded.score], [true, 9, '/bin/program-9', 1]);
    assert.match(threaded.join, /^the kernel told of its connect\(2\)$/);
    // It ended, and another process has its number.
    const reused = trace(({ origins }) => origins.add([made(120, 'curl', 'a')], 50));
    assert.deepEqual([reused.pid, reused.exe, reused.score], [120, undefined, 0.7]);
    assert.match(reused.join, /in which namespace is not known$/);
    // The same addresses in another namespace, which is known by a process there.
    const elsewhere = trace(({ origins }) => origins.add([made(200, 'program-200', 'b')], 50));
    assert.deepEqual([elsewhere.attributed, elsewhere.pid], [false, undefined]);
    const both = trace(({ origins }) => {
      origins.add([made(9, 'program-9', 'a')], 50);
      origins.add([made(200, 'program-200', 'b')], 60);
    });
    assert.deepEqual([both.pid, both.score], [9, 1]);
    const either = trace(({ origins, gone: ended }) => {
      for (const pid of [9, 10]) ended.add(pid);
      origins.add([made(9, 'curl', 'a')], 50);
      origins.add([made(10, 'wget', 'b')], 60);
    });
    assert.deepEqual([either.pid, either.score], [10, 0.35]);
    assert.match(either.join, /one of 2 with the same addresses$/);
    // Of a namespace that is known by now.
    const learned = trace(({ origins, gone: ended }) => {
      ended.add(9);
      origins.learn('a', '1');
      origins.add([made(9, 'curl', 'a')], 50);
    });
    assert.deepEqual([learned.pid, learned.exe, learned.score], [9, undefined, 1]);
  });

  it('without root has no process, and says why; a socket of the kernel is a tunnel’s', () => {
    const place = new Place();
    place.tracks = false;
    place.owners.unreadable = 40;
    place.hold(place.host, socket('tcp', 'ESTABLISHED', '192.0.2.2:40000', '198.51.100.1:443'), 0);
    const hidden = place.trace(flow('192.0.2.2:40000', '198.51.100.1:443'));
    assert.match(hidden.reason ?? '', /needs root \(user 33\)/);
    place.hold(place.host, socket('udp', 'CLOSE', '0.0.0.0:51820', '0.0.0.0:0', { inode: 0 }), 0);
    const tunnel = place.trace(flow('192.0.2.2:51820', '198.51.100.1:51820', 17));
    assert.deepEqual([tunnel.path.at(-1)?.kind, tunnel.path.at(-1)?.device, tunnel.attributed], ['tunnel', 'wg0', true]);
    assert.deepEqual(tunnel.unseen, ['connection tracking of this namespace']);
    assert.match(place.trace(flow('192.0.2.2:0', '198.51.100.1:0', 1)).reason ?? '', /^ICMP/);
  });
});

describe('a flow that is translated', () => {
  it('by REDIRECT goes to the port it is sent to, not to who is bound to the one it names', () => {
    const place = new Place();
    place.hold(place.host, socket('tcp', 'LISTEN', '0.0.0.0:80', '0.0.0.0:0'), 80);
    place.hold(place.host, socket('tcp', 'ESTABLISHED', '192.0.2.2:8080', '198.51.100.1:5000'), 8080);
    place.translate(flow('198.51.100.1:5000', '192.0.2.2:80'), flow('192.0.2.2:8080', '198.51.100.1:5000'));
    const { path } = place.trace(flow('198.51.100.1:5000', '192.0.2.2:80'));
    assert.deepEqual(
      path.map(({ kind, pid }) => [kind, pid]),
      [
        ['wire', undefined],
        ['nat', undefined],
        ['process', 8080],
      ],
    );
  });

  it('is followed over the bridge into its namespace, masqueraded and published alike', () => {
    const place = new Place();
    place.hold(place.box, socket('tcp', 'ESTABLISHED', '172.18.0.2:40000', '198.51.100.1:443'), 11);
    place.hold(place.box, socket('tcp', 'ESTABLISHED', '172.18.0.2:80', '198.51.100.1:5000'), 12);
    place.translate(flow('172.18.0.2:40000', '198.51.100.1:443'), flow('198.51.100.1:443', '192.0.2.2:61000'));
    place.translate(flow('198.51.100.1:5000', '192.0.2.2:8080'), flow('172.18.0.2:80', '198.51.100.1:5000'));
    for (const [seen, pid, inside] of [
      [flow('192.0.2.2:61000', '198.51.100.1:443'), 11, 'tcp 172.18.0.2:40000 - 198.51.100.1:443'],
      [flow('198.51.100.1:5000', '192.0.2.2:8080'), 12, 'tcp 172.18.0.2:80 - 198.51.100.1:5000'],
    ] as const) {
      const { path } = place.trace(seen);
      assert.deepEqual(
        path.map(({ kind, netnsName, pid: holder }) => [kind, netnsName, holder]),
        [
          ['wire', '', undefined],
          ['nat', '', undefined],
          ['link', 'box', undefined],
          ['process', 'box', pid],
        ],
        renderFlow(seen),
      );
      assert.equal(renderFlow(path[2].flow), inside);
    }
  });

  it('to an address nobody here has is said to leave, and by which device', () => {
    const place = new Place();
    place.translate(flow('172.18.0.77:40000', '198.51.100.1:443'), flow('198.51.100.1:443', '192.0.2.2:61001'));
    const { reason, attributed } = place.trace(flow('192.0.2.2:61001', '198.51.100.1:443'));
    assert.equal(attributed, false);
    assert.match(reason ?? '', /forwarded to br0, where no namespace of this machine has that address/);
    const through = place.trace(flow('203.0.113.1:1', '203.0.113.2:2'));
    assert.match(through.reason ?? '', /only forwarded here, between other machines/);
  });
});
