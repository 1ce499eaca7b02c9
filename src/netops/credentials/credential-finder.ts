// Finds credentials shown in the clear in captured frames: puts TCP streams together, tells the protocol by its first bytes, on any
// port, and hands them to its reader. Bounded in connections and in bytes of each; what is encrypted is passed over.

import type { Micros } from '../../base/clock.ts';
import { RecencyMap } from '../../base/recency-map.ts';
import { protocolTcp, protocolUdp } from '../../kernel/packet-header.ts';
import { TcpStream } from '../../model/tcp-stream.ts';
import { type PacketView, tcpFlags, viewPacket } from '../capture/packet-view.ts';
import {
  openLdapReader,
  openMqttReader,
  openMysqlReader,
  openPostgresReader,
  openSocksReader,
  parseCommunity,
} from './binary-protocols.ts';
import type { Credential, CredentialReader, CredentialSink } from './credential.ts';
import { openHttpReader } from './http-credentials.ts';
import { openCommandReader, openImapReader, openIrcReader, openRedisReader, openTelnetReader } from './line-protocols.ts';

export interface SeenCredential extends Credential {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

const maxFlows = 2048;
const limits = { waitingBytes: 32 << 10, waitingSegments: 64 };
/** Until then a protocol is recognised, or never. */
const recogniseBytes = 4096;

interface Beginning {
  client: Buffer;
  server: Buffer;
}

type Opener = (sink: CredentialSink) => CredentialReader;

/** 'more': not enough is known; undefined: nothing that is read here. */
export function recognise({ client, server }: Beginning, port: number): Opener | 'more' | undefined {
  const said = client.toString('latin1', 0, 64);
  const heard = server.toString('latin1', 0, 256);
  if (client[0] === 0x16 && client[1] === 3) return undefined;
  if (/^[A-Z]{3,10} \S+/.test(said) && /^[A-Z]+ \S+ HTTP\/1/.test(client.toString('latin1'))) return openHttpReader;
  if (/^(GET|POST|PUT|HEAD|PATCH|DELETE|OPTIONS|CONNECT|PROPFIND) /.test(said)) return 'more';
  if (/^SSH-/.test(said) || /^SSH-/.test(heard)) return undefined;
  if (/^\+OK/.test(heard))
    return /^(auth|hello|config|\*\d)/i.test(said) ? openRedisReader : (sink) => openCommandReader('pop3', sink);
  if (/^\* (OK|PREAUTH)/.test(heard)) return openImapReader;
  if (/^(EHLO|HELO|LHLO) /i.test(said)) return (sink) => openCommandReader('smtp', sink);
  if (/^20[01]/.test(heard)) return (sink) => openCommandReader('nntp', sink);
  if (/^(PASS|NICK|CAP LS) ?/i.test(said) && !/^(220|\+OK)/.test(heard)) return openIrcReader;
  if (/^(USER|AUTH TLS|FEAT|SYST)/i.test(said)) return (sink) => openCommandReader('ftp', sink);
  if (/^(\*\d{1,2}\r\n\$|AUTH |HELLO \d|PING|INFO|CONFIG )/i.test(said)) return openRedisReader;
  if (/^\S{1,32} (LOGIN|AUTHENTICATE|CAPABILITY)\b/i.test(said)) return openImapReader;
  if (client[0] === 5 && client.length >= 3 && client.length >= 2 + client[1] && client[1] > 0 && client[1] < 16)
    return openSocksReader;
  if (client[0] === 0x10 && /MQTT|MQIsdp/.test(said)) return openMqttReader;
  if (client[0] === 0x30 && client.length > 7 && client.subarray(2, 12).includes(0x60)) return openLdapReader;
  if (client.length >= 8 && [196_608, 80_877_103].includes(client.readUInt32BE(4))) return openPostgresReader;
  if (server.length > 5 && server[4] === 10 && server.readUIntLE(0, 3) + 4 <= server.length + 8 && server[3] === 0)
    return openMysqlReader;
  if (
    client[0] === 255 ||
    server[0] === 255 ||
    port === 23 ||
    port === 2323 ||
    /(login|user ?name|password): ?$/i.test(server.toString('latin1'))
  )
    return openTelnetReader;
  return 'more';
}

class Flow {
  readonly client: { ip: string; port: number };
  readonly server: { ip: string; port: number };
  readonly streams: readonly [client: TcpStream, server: TcpStream];
  #reader: CredentialReader | undefined;
  #beginning: Beginning | undefined = { client: Buffer.alloc(0), server: Buffer.alloc(0) };
  readonly #sink: CredentialSink;
  /** In order, until the protocol is known. */
  #pieces: [boolean, Buffer, Micros][] = [];

  constructor(client: { ip: string; port: number }, server: { ip: string; port: number }, sink: (one: SeenCredential) => void) {
    this.client = client;
    this.server = server;
    this.#sink = (one) =>
      sink({ ...one, source: client.ip, sourcePort: client.port, destination: server.ip, destinationPort: server.port });
    this.streams = [
      new TcpStream((bytes, at) => this.#take(true, bytes, at), limits),
      new TcpStream((bytes, at) => this.#take(false, bytes, at), limits),
    ];
  }

  #take(mine: boolean, bytes: Uint8Array, at: Micros): void {
    if (this.#reader) {
      if (mine) this.#reader.client(bytes, at);
      else this.#reader.server(bytes, at);
      return;
    }
    const known = this.#beginning;
    if (!known) return;
    const piece = Buffer.from(bytes);
    this.#pieces.push([mine, piece, at]);
    if (mine) known.client = Buffer.concat([known.client, piece]);
    else known.server = Buffer.concat([known.server, piece]);
    // A banner alone may be of several protocols: the client's first word decides.
    const opener = known.client.length === 0 ? 'more' : recognise(known, this.server.port);
    if (opener === 'more' && known.client.length + known.server.length < recogniseBytes) return;
    this.#beginning = undefined;
    const pieces = this.#pieces;
    this.#pieces = [];
    if (opener === undefined || opener === 'more') return;
    this.#reader = opener(this.#sink);
    for (const [ofClient, part, when] of pieces)
      if (ofClient) this.#reader.client(part, when);
      else this.#reader.server(part, when);
  }
}

export class CredentialFinder {
  readonly #flows = new RecencyMap<string, Flow>();
  readonly #sink: (one: SeenCredential) => void;
  /** Connections given up for want of room. */
  forgotten = 0;

  constructor(sink: (one: SeenCredential) => void) {
    this.#sink = sink;
  }

  frame(bytes: Buffer, start: number, end: number, linkType: number, at: Micros): void {
    const view = viewPacket(bytes, start, end, linkType);
    if (view?.sourcePort === undefined || view.destinationPort === undefined) return;
    const payload = bytes.subarray(view.payloadAt, Math.min(view.payloadEnd, view.payloadAt + view.payloadLength));
    if (view.protocol === protocolUdp) {
      const found = payload.length > 0 ? parseCommunity(payload, at) : undefined;
      if (found)
        this.#sink({
          ...found,
          source: view.source,
          sourcePort: view.sourcePort,
          destination: view.destination,
          destinationPort: view.destinationPort,
        });
    } else if (view.protocol === protocolTcp && view.tcp) this.#segment(view, payload, at);
  }

  #segment(view: PacketView, payload: Buffer, at: Micros): void {
    const { tcp, source, destination, sourcePort = 0, destinationPort = 0 } = view;
    if (!tcp) return;
    const [here, there] = [`${source} ${sourcePort}`, `${destination} ${destinationPort}`];
    const key = here < there ? `${here} ${there}` : `${there} ${here}`;
    const opening = (tcp.flags & (tcpFlags.syn | tcpFlags.ack)) === tcpFlags.syn;
    let flow = this.#flows.get(key);
    if (!flow || opening) {
      if (!opening && payload.length === 0) return;
      // Without its beginning: the smaller port is the server's.
      const fromClient = opening || sourcePort > destinationPort;
      const [one, other] = [
        { ip: source, port: sourcePort },
        { ip: destination, port: destinationPort },
      ];
      flow = fromClient ? new Flow(one, other, this.#sink) : new Flow(other, one, this.#sink);
      if (this.#flows.size >= maxFlows && this.#flows.oldest) {
        this.#flows.delete(this.#flows.oldest[0]);
        this.forgotten += 1;
      }
    }
    this.#flows.set(key, flow);
    const fromClient = flow.client.ip === source && flow.client.port === sourcePort;
    const [stream, other] = fromClient ? flow.streams : [flow.streams[1], flow.streams[0]];
    if (tcp.flags & tcpFlags.syn) stream.begin(tcp.sequence);
    if (payload.length > 0) stream.push(tcp.flags & tcpFlags.syn ? (tcp.sequence + 1) >>> 0 : tcp.sequence, payload, at);
    if (tcp.flags & tcpFlags.ack) other.acknowledged(tcp.acknowledgement);
    if (tcp.flags & tcpFlags.rst || (flow.streams[0].ended && flow.streams[1].ended)) this.#flows.delete(key);
  }
}
