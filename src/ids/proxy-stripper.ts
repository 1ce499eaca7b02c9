// Frames of a hop that carries a PROXY header, made into frames of what it carries: each connection is put together, its header
// read and dropped, and what is left made anew between the true addresses, with sequence numbers of its own. Bounded in
// connections and in bytes that wait. Pure but for a clock of its caller's; capturing is kernel/sniff-socket.ts.

import type { Micros } from '../base/clock.ts';
import { RecencyMap } from '../base/recency-map.ts';
import { be16, be32, layOut, parseSyn, protocolTcp } from '../kernel/packet-header.ts';
import { renderAddressAt } from '../model/address.ts';
import { FlowFrames, type FrameEnd, frameEnd, sequencesOf } from '../model/flow-frames.ts';
import { ProxyHeaderReader } from '../model/proxy-header-reader.ts';
import type { Direction, Endpoint, SynDetails } from '../model/session.ts';
import { TcpStream } from '../model/tcp-stream.ts';

export interface ProxyStripperOptions {
  /** Ports of the hop's receiver. */
  readonly ports: readonly number[];
  readonly write: (frame: Uint8Array) => void;
  /** Tag of the frames that are made. */
  readonly vlan?: number;
  /** What becomes of connections without a header, or whose header tells no addresses: shown as they are on the wire, or left out. */
  readonly withoutHeader: 'pass' | 'drop';
  readonly maxConnections?: number;
  /** Bytes that wait behind gaps or for a header, all connections together; default 32 MiB. */
  readonly maxHeldBytes?: number;
}

export interface ProxyStripperCounters {
  /** Frames looked at, and those that are no TCP of the hop or are cut short. */
  readonly frames: number;
  readonly foreign: number;
  readonly connections: number;
  /** Whose header was read and dropped. */
  readonly stripped: number;
  readonly withoutHeader: number;
  /** Of those, connections that were not shown as they are. */
  readonly leftOut: number;
  /** Frames that carry something, of connections whose beginning was not seen. */
  readonly midway: number;
  /** Connections whose header names ends that make no frames. */
  readonly unshown: number;
  /** Connections given up to stay within the bounds. */
  readonly shed: number;
  /** Bytes that were sent and never captured. */
  readonly missingBytes: number;
  readonly open: number;
}

const maxHeldOfServer = 64 << 10;
const idleMicros = 300_000_000;
const streamLimits = { waitingBytes: 256 << 10, waitingSegments: 64 };
const flag = { fin: 1, syn: 2, rst: 4, ack: 16 } as const;

interface Segment {
  readonly key: string;
  readonly fromClient: boolean;
  readonly client: Endpoint;
  readonly server: Endpoint;
  readonly clientTtl: number;
  readonly sequence: number;
  readonly acknowledged: number;
  readonly flags: number;
  readonly payload: Uint8Array;
  readonly syn: SynDetails | undefined;
}

class Connection {
  readonly first: Segment;
  readonly client: TcpStream;
  readonly server: TcpStream;
  readonly #stripper: StripperEnd;
  #reader: ProxyHeaderReader | undefined;
  /** The client's bytes so far, while it is not clear that they are a header; and what the server said meanwhile. */
  #header: Uint8Array[] = [];
  #early: Uint8Array[] = [];
  #heldBytes = 0;
  #frames: FlowFrames | undefined;
  #dropped = false;
  lastAt: Micros;

  constructor(first: Segment, at: Micros, stripper: StripperEnd) {
    this.first = first;
    this.lastAt = at;
    this.#stripper = stripper;
    this.#reader = new ProxyHeaderReader();
    this.client = new TcpStream((bytes) => this.#said('in', bytes), streamLimits);
    this.server = new TcpStream((bytes) => this.#said('out', bytes), streamLimits);
  }

  get heldBytes(): number {
    return this.#heldBytes + this.client.waitingBytes + this.server.waitingBytes;
  }

  get missingBytes(): number {
    return this.client.missing + this.server.missing;
  }

  /** Nobody looks at it any more. */
  get isDropped(): boolean {
    return this.#dropped;
  }

  end(ending: 'client-fin' | 'server-fin' | 'client-rst' | 'server-rst'): void {
    this.client.flush();
    this.server.flush();
    if (this.#reader && this.#heldBytes > 0) this.#showAsIs();
    this.#frames?.end(0, ending);
    this.#frames = undefined;
    this.#dropped = true;
  }

  #said(direction: Direction, bytes: Uint8Array): void {
    if (this.#dropped) return;
    if (this.#frames) {
      this.#frames.chunk(0, direction, bytes);
      return;
    }
    if (direction === 'out') {
      this.#hold(this.#early, bytes);
      if (this.#heldBytes > maxHeldOfServer) this.#showAsIs();
      return;
    }
    // Copied: what is pushed lies in a buffer that is used again.
    this.#hold(this.#header, bytes);
    const reading = this.#reader?.push(bytes) ?? { state: 'bad' as const };
    if (reading.state === 'more') return;
    if (reading.state === 'bad') {
      this.#showAsIs();
      return;
    }
    const { flow, command } = reading.header;
    if (command === 'local') {
      // A health check: nobody's traffic.
      this.#dropped = true;
      return;
    }
    if (flow?.transport !== 'tcp') {
      this.#showAsIs();
      return;
    }
    this.#stripper.stripped();
    this.#begin(flow.source, flow.destination, reading.rest.length > 0 ? [reading.rest] : []);
  }

  #hold(list: Uint8Array[], bytes: Uint8Array): void {
    list.push(bytes.slice());
    this.#heldBytes += bytes.length;
  }

  #showAsIs(): void {
    this.#stripper.withoutHeader();
    if (this.#stripper.passes) this.#begin(this.first.client, this.first.server, this.#header);
    else {
      this.#dropped = true;
      this.#release();
    }
  }

  #begin(client: Endpoint, server: Endpoint, said: readonly Uint8Array[]): void {
    this.#frames = this.#stripper.framesOf(this.first, client, server);
    if (!this.#frames) this.#dropped = true;
    this.#frames?.begin(0);
    // A server that speaks first did so before it knew who was there.
    for (const bytes of this.#early) this.#frames?.chunk(0, 'out', bytes);
    for (const bytes of said) this.#frames?.chunk(0, 'in', bytes);
    this.#release();
  }

  #release(): void {
    this.#reader = undefined;
    this.#header = [];
    this.#early = [];
    this.#heldBytes = 0;
  }
}

/** What a connection needs of its owner. */
interface StripperEnd {
  readonly passes: boolean;
  stripped(): void;
  withoutHeader(): void;
  framesOf(first: Segment, client: Endpoint, server: Endpoint): FlowFrames | undefined;
}

export class ProxyStripper {
  readonly #options: ProxyStripperOptions;
  readonly #ports: ReadonlySet<number>;
  readonly #maxConnections: number;
  readonly #maxHeldBytes: number;
  readonly #connections = new RecencyMap<string, Connection>();
  readonly #end: StripperEnd;
  #heldBytes = 0;
  #frames = 0;
  #foreign = 0;
  #begun = 0;
  #stripped = 0;
  #withoutHeader = 0;
  #midway = 0;
  #unshown = 0;
  #shed = 0;
  #missingBytes = 0;

  constructor(options: ProxyStripperOptions) {
    this.#options = options;
    this.#ports = new Set(options.ports);
    this.#maxConnections = options.maxConnections ?? 16_384;
    this.#maxHeldBytes = options.maxHeldBytes ?? 32 << 20;
    this.#end = {
      passes: options.withoutHeader === 'pass',
      stripped: () => {
        this.#stripped += 1;
      },
      withoutHeader: () => {
        this.#withoutHeader += 1;
      },
      framesOf: (first, client, server) => this.#framesOf(first, client, server),
    };
  }

  /** One captured Ethernet frame; its buffer may be used again afterwards. Never throws. */
  take(frame: Uint8Array, at: Micros): void {
    this.#frames += 1;
    const segment = this.#parse(frame);
    if (!segment) {
      this.#foreign += 1;
      return;
    }
    this.#expire(at);
    let connection = this.#connections.get(segment.key);
    // The same ports again: a new connection.
    if (connection && segment.syn && connection.first.sequence !== segment.sequence) {
      this.#close(segment.key, connection, 'server-rst');
      connection = undefined;
    }
    if (!connection) {
      // Only from its beginning on: in the middle of a connection is no header.
      if (!segment.syn) {
        // Without a payload it is what follows the end of one.
        if (segment.payload.length > 0) this.#midway += 1;
        return;
      }
      connection = new Connection(segment, at, this.#end);
      this.#begun += 1;
    }
    connection.lastAt = at;
    this.#connections.set(segment.key, connection);
    this.#follow(connection, segment, at);
  }

  counters(): ProxyStripperCounters {
    let missing = this.#missingBytes;
    for (const [, one] of this.#connections) missing += one.missingBytes;
    return {
      frames: this.#frames,
      foreign: this.#foreign,
      connections: this.#begun,
      stripped: this.#stripped,
      withoutHeader: this.#withoutHeader,
      leftOut: this.#end.passes ? 0 : this.#withoutHeader,
      midway: this.#midway,
      unshown: this.#unshown,
      shed: this.#shed,
      missingBytes: missing,
      open: this.#connections.size,
    };
  }

  #follow(connection: Connection, segment: Segment, at: Micros): void {
    const { key, fromClient, flags, sequence, acknowledged, payload } = segment;
    const before = connection.heldBytes;
    const [own, other] = fromClient ? [connection.client, connection.server] : [connection.server, connection.client];
    if (flags & flag.syn) own.beginAt(sequence);
    if (payload.length > 0) own.push((flags & flag.syn ? sequence + 1 : sequence) >>> 0, payload, at);
    // What the other side says it has, it has: what we missed of that comes no more.
    if (flags & flag.ack) other.acknowledged(acknowledged);
    if (flags & flag.fin) own.finish((sequence + payload.length) >>> 0);
    this.#heldBytes += connection.heldBytes - before;
    if (flags & flag.rst) this.#close(key, connection, fromClient ? 'client-rst' : 'server-rst');
    else if (connection.client.ended && connection.server.ended)
      this.#close(key, connection, fromClient ? 'server-fin' : 'client-fin');
    while (this.#heldBytes > this.#maxHeldBytes || this.#connections.size > this.#maxConnections) {
      const oldest = this.#connections.oldest;
      if (!oldest) break;
      this.#shed += 1;
      this.#close(...oldest, 'server-rst');
    }
  }

  #expire(at: Micros): void {
    for (;;) {
      const oldest = this.#connections.oldest;
      if (!oldest || at - oldest[1].lastAt < idleMicros) return;
      this.#close(...oldest, 'server-rst');
    }
  }

  #close(key: string, connection: Connection, ending: 'client-fin' | 'server-fin' | 'client-rst' | 'server-rst'): void {
    this.#heldBytes -= connection.heldBytes;
    connection.end(ending);
    this.#missingBytes += connection.missingBytes;
    this.#connections.delete(key);
  }

  #framesOf(first: Segment, from: Endpoint, to: Endpoint): FlowFrames | undefined {
    const client = frameEnd(from.ip, from.port, undefined, first.clientTtl, 1);
    const server = frameEnd(to.ip, to.port, undefined, 64, 2);
    if (!client || !server || (client as FrameEnd).address.family !== server.address.family) {
      this.#unshown += 1;
      return undefined;
    }
    const { write, vlan } = this.#options;
    const sequences = sequencesOf(`${first.key} ${first.sequence}`);
    return new FlowFrames({ transport: 'tcp', client, server, sequences, ...(vlan === undefined ? {} : { vlan }) }, write);
  }

  #parse(frame: Uint8Array): Segment | undefined {
    if (frame.length < 14) return undefined;
    let at = 12;
    let type = be16(frame, at);
    for (let tags = 0; (type === 0x8100 || type === 0x88a8) && tags < 2 && at + 6 <= frame.length; tags += 1) {
      at += 4;
      type = be16(frame, at);
    }
    const start = at + 2;
    if (type !== 0x0800 && type !== 0x86dd) return undefined;
    // What is behind the packet is the link's padding.
    const said = type === 0x0800 ? be16(frame, start + 2) : 40 + be16(frame, start + 4);
    // A packet longer than its field can say (segmentation left to the device) has 0 there.
    const end = said === 0 || said === 40 ? frame.length : start + said;
    if (start + 20 > frame.length || end > frame.length) return undefined;
    const layout = layOut(frame, start, end);
    if (!layout || layout.protocol !== protocolTcp || layout.laterFragment) return undefined;
    // More fragments follow: a part of a segment is none.
    if (layout.version === 4 && (frame[start + 6] & 0x20) !== 0) return undefined;
    const tcp = layout.transportAt;
    if (tcp + 20 > end) return undefined;
    const dataAt = tcp + (frame[tcp + 12] >> 4) * 4;
    if (dataAt < tcp + 20 || dataAt > end) return undefined;
    const [sourceAt, destinationAt] = layout.version === 4 ? [start + 12, start + 16] : [start + 8, start + 24];
    const source = { ip: renderAddressAt(frame, sourceAt, layout.version), port: be16(frame, tcp) };
    const destination = { ip: renderAddressAt(frame, destinationAt, layout.version), port: be16(frame, tcp + 2) };
    const flags = frame[tcp + 13];
    const isSyn = (flags & (flag.syn | flag.ack | flag.rst)) === flag.syn;
    const fromClient =
      this.#ports.has(destination.port) && (!this.#ports.has(source.port) || isSyn || this.#knows(source, destination));
    if (!fromClient && !this.#ports.has(source.port)) return undefined;
    const [client, server] = fromClient ? [source, destination] : [destination, source];
    return {
      key: keyOf(client, server),
      fromClient,
      client,
      server,
      clientTtl: layout.ttl,
      sequence: be32(frame, tcp + 4),
      acknowledged: be32(frame, tcp + 8),
      flags,
      payload: frame.subarray(dataAt, end),
      syn: fromClient && isSyn ? parseSyn(frame, start, end) : undefined,
    };
  }

  #knows(client: Endpoint, server: Endpoint): boolean {
    return this.#connections.get(keyOf(client, server)) !== undefined;
  }
}

const keyOf = (client: Endpoint, server: Endpoint): string => `${client.ip} ${client.port} ${server.ip} ${server.port}`;
