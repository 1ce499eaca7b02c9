// One recorded session as a pcap file of well-formed Ethernet frames, rebuilt from what was recorded, so inside TLS it is the
// plain text. Pure; frames are model/flow-frames.ts, capturing from the wire is kernel/.
// Source: the libpcap file format (draft-ietf-opsawg-pcap).

import { type Micros, parseMicros } from '../base/clock.ts';
import { endingOf, FlowFrames, type FrameEnd, frameEnd, sequencesOf } from '../model/flow-frames.ts';
import type { StoredSessionDocument } from './documents.ts';

export interface Capture {
  readonly bytes: Uint8Array;
  readonly frames: number;
}

const snapBytes = 262_144;
const linkTypeEthernet = 1;
const unknownAddress = { family: 4, value: 0n } as const;

class CaptureWriter {
  readonly #parts: Uint8Array[] = [];
  #last = 0;

  constructor() {
    const header = Buffer.alloc(24);
    header.writeUInt32LE(0xa1b2c3d4, 0);
    header.writeUInt16LE(2, 4);
    header.writeUInt16LE(4, 6);
    header.writeUInt32LE(snapBytes, 16);
    header.writeUInt32LE(linkTypeEthernet, 20);
    this.#parts.push(header);
  }

  /** Time never runs backwards inside the file. */
  frame(bytes: Uint8Array, at: Micros): void {
    this.#last = Math.max(at, this.#last);
    const record = Buffer.alloc(16);
    record.writeUInt32LE(Math.floor(this.#last / 1e6), 0);
    record.writeUInt32LE(this.#last % 1e6, 4);
    record.writeUInt32LE(bytes.length, 8);
    record.writeUInt32LE(bytes.length, 12);
    this.#parts.push(record, bytes);
  }

  finish(): Uint8Array {
    return Buffer.concat(this.#parts);
  }
}

/** The whole session as a capture, attacker first. A chunk longer than a segment or datagram becomes several. */
export function renderSessionCapture({ session, chunks }: StoredSessionDocument): Capture {
  const { syn } = session.weir;
  const end = (one: { ip: string; port: number; mac?: string }, ttl: number, number: number): FrameEnd =>
    frameEnd(one.ip, one.port, one.mac, ttl, number) ?? {
      address: unknownAddress,
      port: one.port,
      mac: Uint8Array.from([2, 0, 0, 0, 0, number]),
      ttl,
    };
  const [random, serverSequence] = sequencesOf(session.event.id);
  const out = new CaptureWriter();
  const flow = new FlowFrames(
    {
      transport: session.network.transport === 'udp' ? 'udp' : 'tcp',
      client: end(session.source, syn?.ttl ?? 64, 1),
      server: end(session.destination, 64, 2),
      sequences: [syn?.sequence ?? random, serverSequence],
      ...(syn ? { syn } : {}),
    },
    (frame, at) => out.frame(frame, at),
  );
  const start = parseMicros(session.event.start);
  flow.begin(start);
  for (const { at, direction, bytes } of chunks) flow.chunk(parseMicros(at), direction, Buffer.from(bytes, 'base64'));
  flow.end(session.event.end === undefined ? start : parseMicros(session.event.end), endingOf(session.weir.session.outcome));
  return { bytes: out.finish(), frames: flow.frames };
}
