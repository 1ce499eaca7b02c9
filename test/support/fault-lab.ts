// The network in which `weir doctor` is shown faults: client - router - switch - server, a neighbour of the server, and what
// would be a container behind it. Owns the namespaces and the listening sockets of one case; what goes wrong is fault-cases-*.ts.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import {
  AF_INET,
  AF_INET6,
  bindSocket,
  closeDescriptor,
  connectSocket,
  insideNetns,
  listenSocket,
  openSocket,
  peek,
  SO_REUSEADDR,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
  setSocketOption,
} from '../../src/kernel/libc.ts';
import { renderSocketAddress } from '../../src/kernel/socket-address.ts';
import { parseAddress } from '../../src/model/address.ts';
import { NamespaceLab, type TestNamespace, until } from './namespace.ts';

/** client 10.50.1.10 and .11 - router 10.50.1.1, 10.60.0.1, 10.61.0.1 - switch - server 10.60.0.2, 10.61.0.2; neighbour 10.60.0.20; container 172.18.0.2. */
export const places = ['client', 'router', 'switch', 'server', 'neighbour', 'container'] as const;
export type Place = (typeof places)[number];

/** A shell script in one namespace; `set -e`. */
export type Step = readonly [place: Place, script: string];

export interface Listening {
  readonly at: Place;
  /** `[::]` is for IPv6 alone. */
  readonly address: string;
  readonly port: number;
  /** keep: reads what comes; greet: sends 32 KiB at once; abort: closes as soon as there is something to read; full: never accepts, its queue is filled. */
  readonly behaviour?: 'keep' | 'greet' | 'abort' | 'full';
}

const base: readonly Step[] = [
  [
    'router',
    `ip -batch - <<X
link add r0 type veth peer name c0 netns @client
link add r1 type veth peer name w-r netns @switch
link add r2 type veth peer name s1 netns @server
addr add 10.50.1.1/24 dev r0
addr add fd50:1::1/64 dev r0 nodad
addr add 10.60.0.1/24 dev r1
addr add fd60::1/64 dev r1 nodad
addr add 10.61.0.1/24 dev r2
link set r0 up
link set r1 up
link set r2 up
X
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding`,
  ],
  [
    'client',
    `ip -batch - <<X
addr add 10.50.1.10/24 dev c0
addr add 10.50.1.11/24 dev c0
addr add fd50:1::10/64 dev c0 nodad
link set c0 up
route add default via 10.50.1.1
route add ::/0 via fd50:1::1
X`,
  ],
  [
    'switch',
    `ip -batch - <<X
link add sw0 type bridge
link add w-s type veth peer name s0 netns @server
link add w-n type veth peer name n0 netns @neighbour
link set w-r master sw0
link set w-s master sw0
link set w-n master sw0
link set w-r up
link set w-s up
link set w-n up
link set sw0 up
X`,
  ],
  [
    'server',
    `ip -batch - <<X
addr add 10.60.0.2/24 dev s0
addr add fd60::2/64 dev s0 nodad
addr add 10.61.0.2/24 dev s1
link set s0 up
link set s1 up
route add default via 10.60.0.1
route add ::/0 via fd60::1
link add br-lab type bridge
link add vk type veth peer name eth0 netns @container
link set vk master br-lab
link set vk up
addr add 172.18.0.1/16 dev br-lab
link set br-lab up
X
echo 1 >/proc/sys/net/ipv4/ip_forward`,
  ],
  [
    'neighbour',
    `ip -batch - <<X
addr add 10.60.0.20/24 dev n0
addr add fd60::20/64 dev n0 nodad
link set n0 up
route add default via 10.60.0.1
X`,
  ],
  [
    'container',
    `ip -batch - <<X
addr add 172.18.0.2/16 dev eth0
link set eth0 up
route add default via 172.18.0.1
X`,
  ],
];

export class FaultLab {
  readonly #lab = new NamespaceLab();
  readonly #places = new Map<Place, TestNamespace>();
  readonly #ends: (() => void | Promise<void>)[] = [];

  static async open(): Promise<FaultLab> {
    const made = new FaultLab();
    try {
      for (const place of places) {
        const namespace = await made.#lab.namespace(place);
        made.#places.set(place, namespace);
        for (const which of ['all', 'default']) await namespace.setSysctl(`net/ipv4/conf/${which}/rp_filter`, '0');
      }
      for (const step of base) await made.run(step);
      await made.settled();
    } catch (error) {
      await made.end().catch(() => {});
      throw error;
    }
    return made;
  }

  /** All ports of the switch forward: a link that was switched on takes a moment. */
  async settled(): Promise<void> {
    await until('the ports of the switch forward', async () => {
      const { stdout } = await this.at('switch').run(['ip', '-d', '-o', 'link', 'show', 'master', 'sw0']);
      return (stdout.match(/state UP.* state forwarding/g)?.length ?? 0) === 3;
    });
  }

  at(place: Place): TestNamespace {
    const namespace = this.#places.get(place);
    if (!namespace) throw new Error(`no place ${place}`);
    return namespace;
  }

  /** `@client` in a script is the name of that namespace. */
  async run([place, script]: Step): Promise<string> {
    const text = script.replace(/@(\w+)/g, (whole, name: Place) => this.#places.get(name)?.name ?? whole);
    const { stdout } = await this.at(place).run(['sh', '-ec', text]);
    return stdout;
  }

  async runAll(steps: readonly Step[]): Promise<void> {
    for (const step of steps) await this.run(step);
  }

  /** Closed by what it returns, and by `end`. */
  async listen({ at, address, port, behaviour = 'keep' }: Listening): Promise<() => Promise<void>> {
    const parsed = parseAddress(address.replace(/[[\]]/g, ''));
    if (!parsed) throw new Error(`no address: ${address}`);
    const fd = insideNetns(this.at(at).path, () => {
      const made = openSocket(parsed.family === 4 ? AF_INET : AF_INET6, SOCK_STREAM, 0);
      setSocketOption(made, SOL_SOCKET, SO_REUSEADDR, 1);
      // IPV6_V6ONLY; ipv6(7).
      if (parsed.family === 6) setSocketOption(made, 41, 26, 1);
      bindSocket(made, renderSocketAddress(parsed, port));
      listenSocket(made, behaviour === 'full' ? 1 : 128);
      return made;
    });
    const close = behaviour === 'full' ? this.#fill(fd, at, address, port) : await serve(fd, behaviour);
    let closed = false;
    const once = async (): Promise<void> => {
      if (closed) return;
      closed = true;
      await close();
    };
    this.#ends.push(once);
    return once;
  }

  /** A program that reads datagrams, and with `answers` sends them back. Closed by what it returns, and by `end`. */
  async listenForDatagrams(at: Place, port: number, { answers = false } = {}): Promise<() => Promise<void>> {
    const fd = insideNetns(this.at(at).path, () => {
      const made = openSocket(AF_INET, SOCK_DGRAM, 0);
      bindSocket(made, renderSocketAddress({ family: 4, value: 0n }, port));
      return made;
    });
    const socket = createSocket('udp4');
    socket.on('message', (bytes, from) => {
      if (answers) socket.send(bytes, from.port, from.address);
    });
    const closed = once(socket, 'close');
    let open = true;
    const close = async (): Promise<void> => {
      if (open) socket.close();
      open = false;
      await closed;
    };
    this.#ends.push(close);
    const listening = once(socket, 'listening');
    socket.bind({ fd });
    await listening;
    return close;
  }

  /** As many connections from the place itself as the queue holds: one more than its limit. */
  #fill(listener: number, at: Place, address: string, port: number): () => void {
    const target = parseAddress(address === '0.0.0.0' ? '127.0.0.1' : address);
    if (!target) throw new Error(`no address: ${address}`);
    const filling = insideNetns(this.at(at).path, () =>
      [0, 1, 2, 3].map(() => {
        const fd = openSocket(AF_INET, SOCK_STREAM, 0);
        connectSocket(fd, renderSocketAddress(target, port));
        return fd;
      }),
    );
    return () => {
      for (const fd of [...filling, listener]) closeDescriptor(fd);
    };
  }

  /** Runs when the lab ends, last one first. */
  atEnd(body: () => void | Promise<void>): void {
    this.#ends.push(body);
  }

  async end(): Promise<void> {
    for (const body of this.#ends.reverse()) await body();
    await this.#lab.end();
  }
}

async function serve(fd: number, behaviour: 'keep' | 'greet' | 'abort'): Promise<() => Promise<void>> {
  const server: Server = createServer({ pauseOnConnect: behaviour === 'abort' }, (socket) => {
    socket.on('error', () => {});
    if (behaviour === 'greet') socket.write(Buffer.alloc(32 << 10, 'weir '));
    if (behaviour !== 'abort') socket.resume();
    else {
      const handle = (socket as unknown as { _handle: { fd: number } })._handle;
      const one = new Uint8Array(1);
      const look = setInterval(() => {
        if (peek(handle.fd, one) <= 0) return;
        clearInterval(look);
        socket.destroy();
      }, 5);
      socket.once('close', () => clearInterval(look));
    }
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  const open = new Set<import('node:net').Socket>();
  await new Promise<void>((resolve) => server.listen({ fd }, resolve));
  return () =>
    new Promise((resolve) => {
      server.close(() => resolve());
      for (const socket of open) socket.destroy();
    });
}
