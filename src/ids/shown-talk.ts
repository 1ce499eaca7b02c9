// What one session said, as Suricata is shown it. Where TLS was ended at the decoy the record holds the client's hello as it
// came and then the plain text: no parser would follow that, so the hello is a flow of its own, and the plain text another
// one between the same ends.

import { helloLimit } from '../model/client-hello.ts';
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

/** As many bytes tell a hello from what is none. */
const tellingBytes = recordHeaderBytes + 1;

/** A TLS handshake record in whose first byte a ClientHello begins, as far as there is anything of it. */
const beginsHello = (bytes: Uint8Array): boolean =>
  bytes[0] === handshakeRecord &&
  (bytes.length < 2 || bytes[1] === 3) &&
  (bytes.length < recordHeaderBytes || recordBytes(bytes) !== undefined) &&
  (bytes.length < tellingBytes || bytes[recordHeaderBytes] === clientHello);

/** Where a ClientHello ends, however it is cut into records and pieces: whoever sends it chooses both. */
class HelloExtent {
  readonly #header = new Uint8Array(recordHeaderBytes);
  #headerBytes = 0;
  #recordLeft = 0;
  /** Type and length of the message (RFC 8446, section 4). */
  readonly #message = new Uint8Array(4);
  #messageBytes = 0;
  #messageLeft = Number.POSITIVE_INFINITY;

  /** What is left of these bytes behind the hello; undefined while it goes on. What is no hello any more ends at once. */
  take(bytes: Uint8Array): number | undefined {
    let at = 0;
    while (at < bytes.length) {
      if (this.#recordLeft === 0) {
        this.#header[this.#headerBytes] = bytes[at];
        this.#headerBytes += 1;
        at += 1;
        if (this.#headerBytes < recordHeaderBytes) continue;
        const whole = this.#header[0] === handshakeRecord ? recordBytes(this.#header) : undefined;
        if (whole === undefined) return bytes.length - at;
        this.#headerBytes = 0;
        this.#recordLeft = whole - recordHeaderBytes;
        continue;
      }
      const inHead = this.#messageBytes < this.#message.length;
      const count = inHead ? 1 : Math.min(this.#recordLeft, this.#messageLeft, bytes.length - at);
      if (inHead) {
        this.#message[this.#messageBytes] = bytes[at];
        this.#messageBytes += 1;
        if (this.#messageBytes === this.#message.length) {
          const [, high, middle, low] = this.#message;
          this.#messageLeft = (high << 16) | (middle << 8) | low;
        }
      } else this.#messageLeft -= count;
      this.#recordLeft -= count;
      at += count;
      if (this.#messageLeft === 0 || (this.#messageLeft !== Number.POSITIVE_INFINITY && this.#messageLeft > helloLimit))
        return bytes.length - at;
    }
    return undefined;
  }
}

export class ShownTalk {
  readonly #id: string;
  readonly #options: Omit<FlowFramesOptions, 'sequences'>;
  readonly #write: FrameReceiver;
  #frames: FlowFrames;
  #flows = 0;
  #said = false;
  /** While a hello is being said. */
  #hello: HelloExtent | undefined;
  /** Of the client, too little to tell whether a hello begins. */
  #held: Uint8Array | undefined;
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
    if (bytes.length === 0 || this.#options.transport !== 'tcp') {
      this.#show(direction, bytes);
      return;
    }
    let said = bytes;
    if (this.#held && direction === 'in') {
      said = Buffer.concat([this.#held, bytes]);
      this.#held = undefined;
    } else this.#letGo();
    if (direction === 'in' && !this.#hello && said.length < tellingBytes && beginsHello(said)) {
      // It may lie in a buffer that is used again.
      this.#held = said.slice();
      return;
    }
    this.#watch(direction, said);
    this.#show(direction, said);
  }

  /** Nothing follows for now: what was said last is judged with the next segment of the same side, so there is one. */
  pause(direction: Direction): void {
    if (!this.#held) this.#frames.updateWindow(0, direction);
  }

  end(ending: FlowEnding): void {
    this.#letGo();
    this.#frames.end(0, ending);
  }

  #show(direction: Direction, bytes: Uint8Array): void {
    this.#said = true;
    this.#frames.chunk(0, direction, bytes);
  }

  /** What was held is no hello: more of it did not come. */
  #letGo(): void {
    const held = this.#held;
    if (!held) return;
    this.#held = undefined;
    this.#watch('in', held);
    this.#show('in', held);
  }

  #watch(direction: Direction, bytes: Uint8Array): void {
    if (this.#hello && direction === 'in') {
      this.#hear(this.#hello, bytes);
      return;
    }
    if (this.#afterHello) {
      this.#afterHello = false;
      if (recordBytes(bytes) === undefined) this.#again('server-rst');
    }
    if (direction !== 'in' || bytes.length < tellingBytes || !beginsHello(bytes)) return;
    // After something plain was said (STARTTLS).
    if (this.#said) this.#again('server-fin');
    this.#hear(new HelloExtent(), bytes);
  }

  #hear(hello: HelloExtent, bytes: Uint8Array): void {
    this.#afterHello = hello.take(bytes) !== undefined;
    this.#hello = this.#afterHello ? undefined : hello;
  }

  #again(ending: FlowEnding): void {
    this.#frames.end(0, ending);
    this.#flows += 1;
    this.#frames = new FlowFrames({ ...this.#options, sequences: sequencesOf(`${this.#id} ${this.#flows}`) }, this.#write);
    this.#frames.begin(0);
  }
}
