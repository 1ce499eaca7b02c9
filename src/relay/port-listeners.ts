// Listens on ports of this machine's own addresses, as many as its rules say and its descriptors allow, and keeps to the rules
// when they or the addresses change: what stays wanted stays open. What arrives is the owner's; sockets are port-sockets.ts.

import type net from 'node:net';
import type { Log } from '../base/log.ts';
import { renderAddress } from '../model/address.ts';
import type { RefusedListener } from '../model/agent.ts';
import type { PortSet } from '../model/port-set.ts';
import { hasPort } from '../model/port-set.ts';
import type { AgentDiversion } from '../model/relayed-service.ts';
import type { Endpoint, Transport } from '../model/session.ts';
import { endpointOf, type OwnAddress, readOwnAddresses } from './own-addresses.ts';
import { bindUdp, listenTcp, type OpenPort, type UdpMessage } from './port-sockets.ts';

export interface PortListenersOptions {
  onConnection(socket: net.Socket, source: Endpoint, destination: Endpoint, diversion: AgentDiversion): void;
  onDatagram(message: UdpMessage, destination: Endpoint, diversion: AgentDiversion): void;
  /** Sockets at once; what is more is refused and told. */
  readonly maxSockets: number;
  readonly log: Log;
  /** What is refused, or the machine's addresses, have changed since. */
  onChange?(): void;
  /** Between two looks at the machine's addresses, and attempts on ports that were refused; default 10 s. */
  readonly refreshMs?: number;
  readonly ownAddresses?: () => readonly OwnAddress[];
}

/** Since the start. */
export interface PortListenersCounters {
  connections: number;
  /** Reset by their client before we could ask who it was. */
  vanished: number;
  datagrams: number;
  /** Errors of sockets that are open: no descriptor left to accept with, or no way to send an answer. */
  errors: number;
}

/** `bind` empty: every address, of both families. */
interface Wanted {
  readonly transport: Transport;
  readonly bind: string;
  readonly family: 4 | 6;
  readonly ip: string;
  readonly port: number;
}

const keyOf = ({ transport, bind, port }: Wanted): string => `${transport} ${bind} ${port}`;
/** Opened before anything else gets its turn. */
const perTurn = 256;

export class PortListeners {
  readonly #options: PortListenersOptions;
  readonly #refreshMs: number;
  readonly counters: PortListenersCounters = { connections: 0, vanished: 0, datagrams: 0, errors: 0 };
  readonly #open = new Map<string, OpenPort>();
  /** Ports somebody holds on one address: the others are listened on one by one. */
  readonly #split = new Set<number>();
  #diversions: readonly AgentDiversion[] = [];
  #refused: RefusedListener[] = [];
  #own: readonly OwnAddress[] = [];
  #ownText = '';
  /** `::` where the system has IPv6, else `0.0.0.0`; found out by trying. */
  #everywhere: '::' | '0.0.0.0' = '::';
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: PortListenersOptions) {
    this.#options = options;
    this.#refreshMs = options.refreshMs ?? 10_000;
  }

  get size(): number {
    return this.#open.size;
  }

  get refused(): readonly RefusedListener[] {
    return this.#refused;
  }

  /** Of this machine, without loopback. */
  get addresses(): readonly string[] {
    return this.#own.map(({ ip }) => ip);
  }

  /** Resolves when everything that can be open is. Calls queue up; connections go on whatever changes. */
  apply(diversions: readonly AgentDiversion[]): Promise<void> {
    this.#diversions = diversions;
    this.#split.clear();
    this.#working = this.#working.then(() => this.#work());
    return this.#working;
  }

  /** The diversion a connection to there belongs to; one that names the address goes first. */
  diversionOf(transport: Transport, { ip, port }: Endpoint): AgentDiversion | undefined {
    let general: AgentDiversion | undefined;
    for (const diversion of this.#diversions) {
      if (!hasPort(transport === 'tcp' ? diversion.tcp : diversion.udp, port)) continue;
      if (diversion.addresses.length === 0) general ??= diversion;
      else if (diversion.addresses.some((address) => renderAddress(address) === ip)) return diversion;
    }
    return general;
  }

  /** Nothing is accepted any more; connections go on. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#working;
    const open = [...this.#open.values()];
    this.#open.clear();
    await Promise.all(open.map((port) => port.close()));
  }

  async #work(): Promise<void> {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#own = (this.#options.ownAddresses ?? readOwnAddresses)();
    const refused: RefusedListener[] = [];
    for (;;) {
      refused.length = 0;
      const split = this.#split.size;
      const { wanted, dropped } = this.#wanted();
      await this.#closeOthers(wanted);
      await this.#openAll(wanted, refused);
      refused.push(...dropped);
      // Some ports turned out to be held on one address: once more, with theirs one by one.
      if (this.#split.size === split || this.#closed) break;
    }
    this.#tell(refused);
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#working = this.#working.then(() => this.#refresh());
    }, this.#refreshMs).unref();
  }

  /** Most of the time there is nothing to do. */
  async #refresh(): Promise<void> {
    const own = (this.#options.ownAddresses ?? readOwnAddresses)();
    const same = own.map(({ bind }) => bind).join() === this.#own.map(({ bind }) => bind).join();
    if (!same || this.#refused.length > 0) return this.#work();
    this.#timer = setTimeout(() => {
      this.#working = this.#working.then(() => this.#refresh());
    }, this.#refreshMs).unref();
  }

  #tell(refused: readonly RefusedListener[]): void {
    const text = this.#own.map(({ ip }) => ip).join();
    const before = this.#refused.map(({ transport, port, why }) => `${transport} ${port} ${why}`).join();
    this.#refused = [...refused];
    const after = refused.map(({ transport, port, why }) => `${transport} ${port} ${why}`).join();
    const changed = before !== after || text !== this.#ownText;
    this.#ownText = text;
    if (changed) this.#options.onChange?.();
  }

  #wanted(): { wanted: Map<string, Wanted>; dropped: RefusedListener[] } {
    const wanted = new Map<string, Wanted>();
    const dropped: RefusedListener[] = [];
    const add = (one: Wanted): void => {
      const key = keyOf(one);
      if (wanted.has(key)) return;
      if (wanted.size < this.#options.maxSockets) wanted.set(key, one);
      else
        dropped.push({
          transport: one.transport,
          port: one.port,
          why: `more than ${this.#options.maxSockets} sockets: raise the limit of open files`,
        });
    };
    const onAddresses = (transport: Transport, port: number, addresses: readonly OwnAddress[]): void => {
      for (const { ip, bind, family } of addresses) add({ transport, bind, family, ip, port });
    };
    /** An address that is not ours (now) is tried as it is, and refused by the system. */
    const named = (diversion: AgentDiversion): OwnAddress[] =>
      diversion.addresses.map((address) => {
        const ip = renderAddress(address);
        return this.#own.find((own) => own.ip === ip) ?? { ip, bind: ip, family: address.family };
      });
    const general = this.#diversions.filter(({ addresses }) => addresses.length === 0);
    for (const diversion of general) {
      for (const port of portsOf(diversion.tcp))
        if (this.#split.has(port)) onAddresses('tcp', port, this.#own);
        else add({ transport: 'tcp', bind: '', family: 6, ip: '', port });
      for (const port of portsOf(diversion.udp)) onAddresses('udp', port, this.#own);
    }
    for (const diversion of this.#diversions) {
      if (diversion.addresses.length === 0) continue;
      for (const port of portsOf(diversion.tcp)) if (!wanted.has(`tcp  ${port}`)) onAddresses('tcp', port, named(diversion));
      for (const port of portsOf(diversion.udp)) onAddresses('udp', port, named(diversion));
    }
    return { wanted, dropped };
  }

  async #closeOthers(wanted: ReadonlyMap<string, Wanted>): Promise<void> {
    const gone = [...this.#open].filter(([key]) => !wanted.has(key));
    for (const [key] of gone) this.#open.delete(key);
    await Promise.all(gone.map(([, port]) => port.close()));
  }

  async #openAll(wanted: ReadonlyMap<string, Wanted>, refused: RefusedListener[]): Promise<void> {
    let group: Promise<void>[] = [];
    for (const [key, one] of wanted) {
      if (this.#open.has(key) || this.#closed) continue;
      group.push(this.#openOne(key, one, refused));
      if (group.length < perTurn) continue;
      await Promise.all(group);
      group = [];
    }
    await Promise.all(group);
  }

  async #openOne(key: string, one: Wanted, refused: RefusedListener[]): Promise<void> {
    try {
      const port = await this.#listen(one);
      if (this.#closed) await port.close();
      else this.#open.set(key, port);
    } catch (error) {
      const code = String((error as NodeJS.ErrnoException).code ?? (error as Error).message);
      if (one.bind === '' && code === 'EADDRINUSE' && !this.#split.has(one.port) && this.#own.length > 0)
        this.#split.add(one.port);
      else refused.push({ transport: one.transport, port: one.port, why: one.bind === '' ? code : `${code} on ${one.ip}` });
    }
  }

  async #listen(one: Wanted): Promise<OpenPort> {
    const failed = (): void => {
      this.counters.errors += 1;
    };
    if (one.transport === 'udp')
      return bindUdp(
        one.bind,
        one.family,
        one.port,
        (message) => this.#datagram(message, { ip: one.ip, port: one.port }),
        failed,
      );
    if (one.bind !== '') return listenTcp(one.bind, one.port, this.#connected, failed);
    try {
      return await listenTcp(this.#everywhere, one.port, this.#connected, failed);
    } catch (error) {
      if (
        this.#everywhere !== '::' ||
        !['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EINVAL'].includes(String((error as NodeJS.ErrnoException).code))
      )
        throw error;
      this.#everywhere = '0.0.0.0';
      return listenTcp(this.#everywhere, one.port, this.#connected, failed);
    }
  }

  readonly #connected = (socket: net.Socket): void => {
    const source = endpointOf(socket.remoteAddress, socket.remotePort);
    const destination = endpointOf(socket.localAddress, socket.localPort);
    const diversion = destination && this.diversionOf('tcp', destination);
    if (!source || !destination || !diversion) {
      // Gone already, or to a port that was closed this moment.
      this.counters.vanished += 1;
      socket.on('error', () => {});
      socket.resetAndDestroy();
      return;
    }
    this.counters.connections += 1;
    this.#options.onConnection(socket, source, destination, diversion);
  };

  #datagram(message: UdpMessage, destination: Endpoint): void {
    const diversion = this.diversionOf('udp', destination);
    if (!diversion) return;
    this.counters.datagrams += 1;
    this.#options.onDatagram(message, destination, diversion);
  }
}

function* portsOf(ports: PortSet): Generator<number> {
  for (const { first, last } of ports) for (let port = first; port <= last; port += 1) yield port;
}
