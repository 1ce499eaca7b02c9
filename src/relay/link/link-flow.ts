// One attacker's connection as a stream of the agents' link: half-close, RST and back-pressure as on a socket. Both ends use
// it; who may open one and what its first bytes mean is agent-flows.ts and link-client.ts.
//
// HTTP/2 servers take few RST_STREAM frames a second (33 after 1,000, nghttp2's guard against reset floods), and a scanner
// resets far more connections than that. So the agent never sends one: it says on the control stream after how many bytes its
// attacker reset, which also loses none of them, and the gateway, whose peer has no such limit, ends the stream.

import { type ClientHttp2Stream, constants, type Http2Session, type ServerHttp2Stream } from 'node:http2';
import { Duplex, type Readable } from 'node:stream';
import type { FlowStream } from '../arrival.ts';

export type LinkStream = ServerHttp2Stream | ClientHttp2Stream;

/** What a flow asks of its link; one for all flows of a link. */
export interface FlowKeeper {
  /** The owner reset it: tell the other end, and see that the stream ends. Bytes written so far go first. */
  reset(flow: LinkFlow): void;
  /** The owner destroyed it without a RST: what is written still goes, what comes is of no interest. */
  abandon(flow: LinkFlow): void;
  /** Its reader is slow, or no longer. */
  stalled(flow: LinkFlow, stalled: boolean): void;
}

export function resetError(): NodeJS.ErrnoException {
  return Object.assign(new Error('the connection was reset at the other end of the link'), { code: 'ECONNRESET', errno: -104 });
}

/**
 * Ends a stream for good: the other end sees a RST. Not now but in the next turn: Node runs our listeners while nghttp2 reads,
 * and a RST_STREAM from in there (of any code but CANCEL) makes it write, which nghttp2 forbids and may do for ever.
 */
export function cutStream(stream: LinkStream): void {
  // Not by close(), which would say END_STREAM first, a FIN.
  setImmediate(() => void stream.destroy(resetError()));
}

/** The same, for a stream whose other half may still be told that it ended well: END_STREAM, then nobody reads. */
export function closeStream(stream: LinkStream): void {
  setImmediate(() => {
    if (!stream.closed && !stream.destroyed) stream.close(constants.NGHTTP2_NO_ERROR);
  });
}

/** Ends a link, and all its flows with a RST; in the next turn, as above. Emits `error` on the session. */
export function cutSession(session: Http2Session, reason: string): void {
  // With a code: Node takes streams of a session that is destroyed without one for ended well.
  setImmediate(() => session.destroy(new Error(reason), constants.NGHTTP2_CANCEL));
}

/** The gateway will not have the flow, and did nothing with it. */
export function turnedAwayError(): NodeJS.ErrnoException {
  return Object.assign(new Error('the gateway turned the flow away'), { code: 'ECONNREFUSED', errno: -111 });
}

/** 64 KiB, as sockets have in Node's newer versions. */
const highWaterMark = 64 * 1024;
/** What each piece that waits costs beside its bytes; a peer may make all of them one byte long. */
const pieceBytes = 128;
/** How long a reset waits for a reader that does not take what came before it. */
const resetPatienceMs = 5_000;

export class LinkFlow extends Duplex implements FlowStream {
  readonly stream: LinkStream;
  readonly #keeper: FlowKeeper;
  /** Of the stream's body, header included. */
  #sentBytes: number;
  #receivedBytes: number;
  #resetAt: number | undefined;
  #patience: NodeJS.Timeout | undefined;
  /** The other end takes nothing any more: writing finds a reset connection, as after a FIN of a process that is gone. */
  #peerGone = false;
  #stalled: boolean;
  #resetting = false;
  /** We asked for it, and the other end has not said that it takes it. */
  #awaited = false;
  #writing: ((error?: Error | null) => void) | undefined;
  #unwritten = 0;
  #onWritten: (() => void) | undefined;

  /**
   * `first` came after the header; `sentBytes` and `receivedBytes` count what passed on the stream before, `first` included.
   * `asked`: by us; the other end's `response` says that it takes the flow, and we emit `taken`.
   */
  constructor(
    stream: LinkStream,
    keeper: FlowKeeper,
    before: { readonly sentBytes: number; readonly receivedBytes: number; readonly first?: Uint8Array; readonly asked?: boolean },
  ) {
    super({ allowHalfOpen: true, readableHighWaterMark: highWaterMark, writableHighWaterMark: highWaterMark });
    this.stream = stream;
    this.#keeper = keeper;
    this.#sentBytes = before.sentBytes;
    this.#receivedBytes = before.receivedBytes;
    this.#stalled = stream.isPaused();
    if (this.#stalled) keeper.stalled(this, true);
    if (before.first?.length) this.push(before.first);
    stream.on('data', (bytes: Buffer) => this.#take(bytes));
    stream.on('end', () => this.#ended());
    stream.on('drain', () => this.#drained());
    // Says nothing that `close` does not.
    stream.on('error', () => {});
    stream.on('close', () => this.#closed());
    if (!before.asked) return;
    this.#awaited = true;
    stream.once('response', () => {
      this.#awaited = false;
      this.emit('taken');
    });
  }

  get sentBytes(): number {
    return this.#sentBytes;
  }

  /** What came and waits for the reader, by what it costs us. */
  get waitingBytes(): number {
    const pieces = waitingPieces(this.stream) + waitingPieces(this);
    return this.stream.readableLength + this.readableLength + pieces * pieceBytes;
  }

  /** The other end sees a RST; with an error, our owner sees that too. */
  resetAndDestroy(error?: Error): this {
    if (this.destroyed) return this;
    this.#resetting = true;
    this.#keeper.reset(this);
    return this.destroy(error);
  }

  /** The other end's connection was reset after so many bytes of the stream's body; what of them is still to come is delivered first. */
  peerReset(afterBytes: number): void {
    if (this.destroyed || this.#resetAt !== undefined) return;
    this.#resetAt = afterBytes;
    this.#resetIfDue();
    if (!this.destroyed) this.#patience = setTimeout(() => this.destroy(resetError()), resetPatienceMs).unref();
  }

  /** The other end reads no more. */
  peerAbandoned(): void {
    this.#peerGone = true;
    this.#failWrite();
  }

  /** Calls back once everything written has left for the link. */
  onceWritten(done: () => void): void {
    if (this.#unwritten === 0) done();
    else this.#onWritten = done;
  }

  override read(size?: number): unknown {
    const bytes = super.read(size);
    if (this.#resetAt !== undefined) this.#resetIfDue();
    return bytes;
  }

  override _read(): void {
    if (!this.#stalled) return;
    this.#stalled = false;
    this.#keeper.stalled(this, false);
    this.stream.resume();
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#settle(this.#send(bytes), done);
  }

  override _writev(pieces: readonly { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    let room = true;
    for (const { chunk } of pieces) room = this.#send(chunk);
    this.#settle(room, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    if (!this.stream.destroyed && this.stream.writable) this.stream.end();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#writing = undefined;
    clearTimeout(this.#patience);
    if (this.#stalled) this.#keeper.stalled(this, false);
    // What still comes is read and dropped: the end is behind it.
    if (!this.stream.destroyed) this.stream.resume();
    const over = this.readableEnded && this.writableFinished;
    if (!over && !this.#resetting && !this.stream.closed) this.#keeper.abandon(this);
    done(error);
  }

  #send(bytes: Buffer): boolean {
    if (this.#peerGone || this.stream.destroyed || !this.stream.writable) {
      this.#peerGone = true;
      return true;
    }
    this.#sentBytes += bytes.length;
    this.#unwritten += 1;
    return this.stream.write(bytes, this.#written);
  }

  readonly #written = (): void => {
    this.#unwritten -= 1;
    if (this.#unwritten > 0) return;
    this.#onWritten?.();
    this.#onWritten = undefined;
  };

  #settle(room: boolean, done: (error?: Error | null) => void): void {
    if (this.#peerGone) done(this.#goneError());
    else if (room) done();
    else this.#writing = done;
  }

  #drained(): void {
    const done = this.#writing;
    this.#writing = undefined;
    done?.();
  }

  #failWrite(): void {
    const done = this.#writing;
    this.#writing = undefined;
    done?.(this.#goneError());
  }

  /** A write may find the stream gone before its `close` says so: what nobody took is turned away all the same. */
  #goneError(): NodeJS.ErrnoException {
    return this.#awaited ? turnedAwayError() : resetError();
  }

  #take(bytes: Buffer): void {
    this.#receivedBytes += bytes.length;
    if (this.destroyed) return;
    if (!this.push(bytes) && !this.#stalled) {
      this.#stalled = true;
      this.stream.pause();
      this.#keeper.stalled(this, true);
    }
    this.#resetIfDue();
  }

  /** Not before its reader had what came before: a RST that overtakes the bytes would cut them off the record. */
  #resetIfDue(): void {
    if (this.#resetAt === undefined || this.#receivedBytes < this.#resetAt || this.readableLength > 0) return;
    this.destroy(resetError());
  }

  #ended(): void {
    // Node ends streams that it destroys, too; `close` says more about those.
    if (!this.destroyed && this.stream.rstCode === constants.NGHTTP2_NO_ERROR) this.push(null);
  }

  #closed(): void {
    const { rstCode } = this.stream;
    if (this.destroyed) return;
    // Of a link that broke as well: the other end may never have heard of it.
    if (this.#awaited) this.destroy(turnedAwayError());
    else if (rstCode !== constants.NGHTTP2_NO_ERROR || !this.stream.readableEnded) this.destroy(resetError());
    else this.peerAbandoned();
  }
}

/** Node tells bytes alone; a version that keeps its queue elsewhere counts none. */
function waitingPieces(stream: Readable): number {
  const { _readableState: state } = stream as { readonly _readableState?: { readonly buffer?: { readonly length?: number } } };
  return state?.buffer?.length ?? 0;
}
