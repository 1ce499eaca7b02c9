// What one session said, as Suricata is shown it. Where TLS was ended at the decoy the record holds the client's hello as it
// came and then the plain text: no parser would follow that, so the hello is a flow of its own, and the plain text another
// one between the same ends.

import { type FlowEnding, FlowFrames, type FlowFramesOptions, type FrameReceiver, sequencesOf } from '../model/flow-frames.ts';
import type { Direction } from '../model/session.ts';

/** TLS record (RFC 8446, section 5.1): types 20 to 24, version 3.x, at most 2^14 + 256 bytes. */
const recordHeaderBytes = 5;
const maxRecordBytes = 16_640;
const handshakeRecord = 22;
const clientHello = 1;

function recordBytes(bytes: Uint8Array): number | undefined {
  if (bytes.length < recordHeaderBytes || bytes[0] < 20 || bytes[0] > 24 || bytes[1] !== 3) return undefined;
  const length = (bytes[3] << 8) | bytes[4];
  return length > 0 && length <= maxRecordBytes ? recordHeaderBytes + length : undefined;
}

const isHello = (bytes: Uint8Array): boolean =>
  recordBytes(bytes) !== undefined && bytes[0] === handshakeRecord && bytes[recordHeaderBytes] === clientHello;

export class ShownTalk {
  readonly #id: string;
  readonly #options: Omit<FlowFramesOptions, 'sequences'>;
  readonly #write: FrameReceiver;
  #frames: FlowFrames;
  #flows = 0;
  #said = false;
  /** Bytes of a hello still to come, while one is being said; then undefined again. */
  #helloLeft: number | undefined;
  /** A hello was said whole: what comes next tells whether TLS goes on. */
  #afterHello = false;

  /** `firstSequence` is the attacker's own, of its SYN. */
  constructor(
    id: string,
    options: Omit<FlowFramesOptions, 'sequences'>,
    firstSequence: number | undefined,
    write: (frame: Uint8Array) => void,
  ) {
    this.#id = id;
    this.#options = options;
    this.#write = write;
    const [client, server] = sequencesOf(id);
    this.#frames = new FlowFrames({ ...options, sequences: [firstSequence ?? client, server] }, write);
    this.#frames.begin(0);
  }

  chunk(direction: Direction, bytes: Uint8Array): void {
    if (this.#options.transport === 'tcp' && bytes.length > 0) this.#watch(direction, bytes);
    this.#said = true;
    this.#frames.chunk(0, direction, bytes);
  }

  end(ending: FlowEnding): void {
    this.#frames.end(0, ending);
  }

  #watch(direction: Direction, bytes: Uint8Array): void {
    if (this.#helloLeft !== undefined && direction === 'in') {
      this.#helloLeft -= bytes.length;
      if (this.#helloLeft > 0) return;
      this.#helloLeft = undefined;
      this.#afterHello = true;
      return;
    }
    if (this.#afterHello) {
      this.#afterHello = false;
      if (recordBytes(bytes) === undefined) this.#again('server-rst');
    }
    if (direction !== 'in' || !isHello(bytes)) return;
    // After something plain was said (STARTTLS).
    if (this.#said) this.#again('server-fin');
    const left = (recordBytes(bytes) ?? 0) - bytes.length;
    if (left > 0) this.#helloLeft = left;
    else this.#afterHello = true;
  }

  #again(ending: FlowEnding): void {
    this.#frames.end(0, ending);
    this.#flows += 1;
    this.#frames = new FlowFrames({ ...this.#options, sequences: sequencesOf(`${this.#id} ${this.#flows}`) }, this.#write);
    this.#frames.begin(0);
  }
}
