// One connection from accept to close: reads, has its protocol told, hands bytes to the responder, records both directions
// and how it ended. Timers, tables and bounds over all sessions belong to catch-all.ts, answers to responders/.

import type { TLSSocket } from 'node:tls';
import type { Linked } from '../base/recency-list.ts';
import { describeHello, parseClientHello } from '../model/client-hello.ts';
import { hostName } from '../model/host-name.ts';
import type { NameBook } from '../model/name-book.ts';
import type { Persona } from '../model/persona.ts';
import type { Endpoint, SessionFindings, SessionHandle, SessionOutcome } from '../model/session.ts';
import { attach, type Carrier, type StreamOwner, stopReading, tellWhenDrained } from './carrier.ts';
import { detect } from './detect.ts';
import { Inbox } from './inbox.ts';
import type { Conversation, Dialogue, Responder } from './responder.ts';
import { exclusiveService, isWrapped, serviceOf } from './services.ts';
import { overflowFactor, type SessionHost } from './session-host.ts';
import { contextFor, handshakeFailure, terminateTls } from './tls-terminator.ts';
import type { Visit } from './visit.ts';

type Mode = 'detect' | 'talk' | 'hello' | 'handshake' | 'deaf' | 'closed';
type Ending = Exclude<SessionOutcome, 'open'>;

/** Most bytes of one connection that wait for the rest of their message. */
const pendingLimit = 65_536;
/** Bytes the client has not taken yet before we stop reading from it. */
const backlogLimit = 16_384;
/** Nested TLS deeper than this is not opened. */
const tlsDepthLimit = 3;
/** Attempts to tell the protocol of a connection whose first bytes nobody knew. */
const attemptLimit = 8;
/** Protocols so plain that a client of another banner's port is believed. */
const outrank = new Set(['tls', 'sslv2', 'http', 'rdp', 'smb', 'ssh']);

export class TcpSession implements Conversation, Linked, StreamOwner {
  before: Linked | undefined = undefined;
  after: Linked | undefined = undefined;
  listed = false;
  /** Milliseconds of the owner's clock, and its name for the source. */
  openedMs = 0;
  activeMs = 0;
  sourceKey = '';
  #silent = true;
  readonly source: Endpoint;
  readonly destination: Endpoint;
  readonly persona: Persona;
  readonly names: NameBook | undefined;
  readonly #host: SessionHost<TcpSession>;
  readonly #handle: SessionHandle;
  readonly #socket: Carrier;
  #stream: Carrier;
  #mode: Mode = 'detect';
  #outcome: Ending | undefined = undefined;
  #reset = false;
  #clientEnded = false;
  #awaiting = false;
  #lingering = false;
  /** The greeting went out to a silent client: its first bytes may still belong to another protocol. */
  #guessed = false;
  #stalled = false;
  #attempts = 0;
  #tlsDepth = 0;
  #bytes = 0;
  #port: number;
  #protocol: string | undefined = undefined;
  #dialogue: Dialogue | undefined = undefined;
  #inbox: Inbox | undefined = undefined;
  #heldBytes = 0;

  constructor(host: SessionHost<TcpSession>, handle: SessionHandle, visit: Visit) {
    this.#host = host;
    this.#handle = handle;
    this.source = visit.source;
    this.destination = visit.destination;
    this.persona = visit.persona;
    this.names = visit.names;
    this.#port = visit.destination.port;
    this.#socket = visit.socket;
    this.#stream = this.#socket;
    attach(this.#socket, this);
    if (this.#serviceResponder()?.serverFirst) this.#await();
  }

  get host(): string {
    return hostName(this.persona, this.destination.ip);
  }

  get encrypted(): boolean {
    return this.#tlsDepth > 0;
  }

  get protocol(): string | undefined {
    return this.#protocol;
  }

  /** Bytes both ways so far. */
  get bytes(): number {
    return this.#bytes;
  }

  // ---- events of the socket

  received(bytes: Buffer): void {
    if (this.#mode === 'closed') return;
    this.#silent = false;
    this.#bytes += bytes.length;
    this.#host.counted('bytesIn', bytes.length);
    this.#handle.chunk('in', bytes, this.#host.now());
    this.#host.touched(this);
    if (this.#bytes > this.#host.sessionBytes * overflowFactor) {
      this.finish('byte-limit');
      return;
    }
    if (this.#mode === 'deaf') this.#listenAgain(bytes);
    else this.#process(bytes, false);
  }

  clientEnded(): void {
    if (this.#mode === 'closed' || this.#clientEnded) return;
    this.#clientEnded = true;
    if (this.#outcome === undefined && !this.#reset) {
      if (this.#mode === 'detect') this.#process(undefined, true);
      this.#outcome ??= 'client-closed';
    }
    this.#closeStream();
  }

  failed(error: NodeJS.ErrnoException): void {
    if (error.code === 'ECONNRESET' || error.code === 'EPIPE') this.#reset = true;
    else if (this.#mode === 'handshake') this.#tlsFailed(error.code);
    else if (error.code === 'ETIMEDOUT') this.#outcome ??= 'idle';
    if (!this.#socket.destroyed) this.#socket.destroy();
  }

  closed(): void {
    if (this.#mode === 'closed') return;
    this.#conclude(this.#outcome ?? (this.#reset ? 'client-reset' : this.#clientEnded ? 'client-closed' : 'server-closed'));
  }

  drained(): void {
    if (!this.#stalled || this.#mode === 'closed') return;
    this.#stalled = false;
    this.#process(undefined, false);
    if (!this.#stalled) this.#stream.resume();
  }

  // ---- what the owner decides

  /** Nothing (more) came for the greeting's delay: tell the protocol from what there is, or speak first where this port's service does. */
  waited(): void {
    this.#awaiting = false;
    if (this.#mode !== 'detect' || this.#clientEnded) return;
    if (this.#inbox) {
      this.#process(undefined, true);
      return;
    }
    if (!this.#silent || (this.#tlsDepth === 0 && isWrapped(this.persona, this.#port))) return;
    const responder = this.#serviceResponder();
    if (!responder?.serverFirst) return;
    this.#guessed = true;
    this.#open(responder);
  }

  /** We closed our side some time ago and the client did not. */
  lingered(): void {
    if (this.#mode !== 'closed') this.finish(this.#outcome ?? 'server-closed');
  }

  /** Ends at once; `shed` and limits reset the connection, the others close it. */
  finish(outcome: Ending): void {
    if (this.#mode === 'closed') return;
    const socket = this.#socket;
    this.#conclude(this.#outcome ?? outcome);
    if (outcome === 'shed' || outcome === 'byte-limit') socket.resetAndDestroy();
    else socket.destroy();
  }

  // ---- Conversation

  send(bytes: Uint8Array | string): void {
    if (this.#mode === 'closed' || this.#outcome !== undefined || bytes.length === 0) return;
    const buffer = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
    this.#bytes += buffer.length;
    this.#host.counted('bytesOut', buffer.length);
    this.#handle.chunk('out', buffer, this.#host.now());
    if (this.#stream.writable) this.#stream.write(buffer);
  }

  find(findings: SessionFindings): void {
    this.#handle.find(findings);
  }

  end(): void {
    if (this.#mode === 'closed' || this.#outcome !== undefined) return;
    if (!this.#clientEnded) this.#outcome = 'server-closed';
    this.#stream.end();
    this.#mode = 'deaf';
    this.#release();
    this.#linger();
  }

  startTls(): void {
    if (this.#mode === 'talk' && this.#tlsDepth < tlsDepthLimit) this.#mode = 'hello';
  }

  redetect(port: number): void {
    if (this.#mode !== 'talk') return;
    this.#port = port;
    this.#dialogue = undefined;
    this.#silent = true;
    this.#mode = 'detect';
    this.#await();
  }

  // ---- inside

  #await(): void {
    if (this.#awaiting) return;
    this.#awaiting = true;
    this.#host.awaiting(this);
  }

  #linger(): void {
    if (this.#lingering) return;
    this.#lingering = true;
    this.#host.lingering(this);
  }

  #serviceResponder(): Responder | undefined {
    const service = serviceOf(this.persona, this.#port);
    return service === undefined ? undefined : this.#host.responder(service);
  }

  #open(responder: Responder): void {
    this.#silent = false;
    this.#mode = 'talk';
    this.#setProtocol(responder.protocol);
    this.#guard(() => {
      this.#dialogue = responder.open(this);
      this.#dialogue.greet?.(this);
      return 0;
    });
  }

  #setProtocol(protocol: string): void {
    this.#protocol = protocol;
    this.#handle.find(this.#tlsDepth > 0 ? { protocol, tags: ['tls'] } : { protocol });
  }

  /** Runs a piece of a responder; a throw is a defect of ours and leaves the connection recorded but unanswered. */
  #guard(run: () => number): number {
    try {
      return run();
    } catch (error) {
      this.#host.defect(this, error);
      this.#dialogue = undefined;
      if (this.#mode !== 'closed') this.#mode = 'deaf';
      return 0;
    }
  }

  #process(bytes: Buffer | undefined, complete: boolean): void {
    let view: Buffer;
    if (this.#inbox) {
      if (bytes) this.#inbox.append(bytes);
      view = this.#inbox.view;
    } else if (bytes) view = bytes;
    else return;
    if (this.#guessed && this.#mode === 'talk') this.#doubt(view);
    while (view.length > 0) {
      const mode: Mode = this.#mode;
      if (mode === 'detect') {
        if (!this.#tell(view, complete)) break;
      } else if (mode === 'talk') {
        if (this.#stream.writableLength > backlogLimit) {
          this.#stall();
          break;
        }
        const input = view;
        const used = this.#guard(() => this.#dialogue?.receive(input, this) ?? input.length);
        if (used > 0) view = view.subarray(used);
        else if (this.#mode === 'talk') break;
      } else if (mode === 'hello') {
        if (!this.#readHello(view)) break;
      } else view = view.subarray(view.length);
    }
    this.#keep(view);
  }

  /** A greeting nobody asked for was sent; a client that now opens something unmistakable gets that instead. */
  #doubt(view: Buffer): void {
    this.#guessed = false;
    const detection = detect(view, this.#protocol, true);
    if (detection.verdict === 'match' && detection.protocol !== this.#protocol && outrank.has(detection.protocol))
      this.#enter(detection.protocol);
  }

  /** False when more bytes are needed. */
  #tell(view: Buffer, complete: boolean): boolean {
    const hint = serviceOf(this.persona, this.#port);
    const detection = detect(view, hint, complete);
    if (detection.verdict === 'more') {
      this.#await();
      return false;
    }
    if (detection.verdict === 'match') {
      const service =
        this.#port === this.destination.port ? exclusiveService(this.persona, this.#port, detection.protocol) : undefined;
      const own = service === undefined ? undefined : this.#host.responder(service);
      if (own) {
        this.#open(own);
        // What the client spoke is on record, what it got is the port's own protocol.
        this.#setProtocol(detection.protocol);
      } else this.#enter(detection.protocol);
      return true;
    }
    const usual = this.#serviceResponder();
    if (usual?.takesAnything) this.#open(usual);
    else this.#mode = 'deaf';
    return true;
  }

  #enter(protocol: string): void {
    if (protocol === 'tls' || protocol === 'sslv2') {
      if (this.#protocol === undefined) this.#setProtocol('tls');
      this.#dialogue = undefined;
      this.#mode = this.#tlsDepth < tlsDepthLimit ? 'hello' : 'deaf';
      return;
    }
    const responder = this.#host.responder(protocol);
    if (responder) this.#open(responder);
    else {
      this.#setProtocol(protocol);
      this.#mode = 'deaf';
      this.#attempts = attemptLimit;
    }
  }

  /** Unknown first bytes may be followed by known ones: each chunk is looked at afresh, a few times. */
  #listenAgain(bytes: Buffer): void {
    if (this.#attempts >= attemptLimit || this.#outcome !== undefined || this.#protocol !== undefined) return;
    this.#attempts += 1;
    const detection = detect(bytes, undefined, true);
    if (detection.verdict !== 'match') return;
    this.#mode = 'detect';
    this.#process(bytes, true);
  }

  #keep(view: Buffer): void {
    if (view.length === 0 || this.#mode === 'deaf' || this.#mode === 'closed') {
      this.#release();
      return;
    }
    if (view.length > pendingLimit || !this.#hold(view.length)) {
      this.#handle.find({ tags: ['message-too-long'] });
      this.#dialogue = undefined;
      this.#mode = 'deaf';
      this.#attempts = attemptLimit;
      this.#release();
      return;
    }
    if (this.#inbox) this.#inbox.consume(this.#inbox.length - view.length);
    else {
      this.#inbox = new Inbox();
      this.#inbox.append(view);
    }
  }

  #hold(bytes: number): boolean {
    const held = this.#host.hold(bytes - this.#heldBytes);
    if (held) this.#heldBytes = bytes;
    return held;
  }

  #release(): void {
    if (this.#heldBytes > 0) this.#host.hold(-this.#heldBytes);
    this.#heldBytes = 0;
    this.#inbox = undefined;
  }

  #stall(): void {
    if (this.#stalled) return;
    this.#stalled = true;
    this.#stream.pause();
    tellWhenDrained(this.#stream);
  }

  /** After the client's FIN: what is on its way goes out, then our FIN. */
  #closeStream(): void {
    if (this.#mode === 'handshake' || (this.#stream === this.#socket && this.#socket.writableLength === 0))
      this.#socket.destroy();
    else {
      this.#stream.end();
      this.#linger();
    }
  }

  #conclude(outcome: Ending): void {
    if (this.#mode === 'handshake') this.#tlsFailed('left');
    this.#mode = 'closed';
    this.#handle.close(outcome, this.#host.now());
    this.#release();
    this.#dialogue = undefined;
    this.#host.ended(this, outcome);
  }

  // ---- TLS

  /** False when more bytes are needed. */
  #readHello(view: Buffer): boolean {
    const reading = parseClientHello(view);
    if (reading.verdict === 'more') return false;
    if (reading.verdict === 'broken') {
      // Plain text after an offer of TLS: the dialogue goes on as it was.
      if (this.#dialogue && view[0] !== 0x16) {
        this.#mode = 'talk';
        return true;
      }
      this.#handle.find({ tags: ['tls-hello-broken'] });
      this.#host.counted('tlsFailures', 1);
      this.send(handshakeFailure);
      this.end();
      return true;
    }
    const { hello } = reading;
    const details = describeHello(hello);
    this.#handle.find({ tls: details, tags: ['tls'] });
    this.#tlsDepth += 1;
    this.#mode = 'handshake';
    const received = Buffer.from(view);
    const outer = this.#stream;
    stopReading(outer);
    let stream: Carrier;
    try {
      stream = terminateTls(outer, received, contextFor(this.#host.certificates, hello, this.host), hello);
    } catch (error) {
      this.#host.defect(this, error);
      this.finish('server-closed');
      return true;
    }
    this.#stream = stream;
    attach(stream, this, true);
    return true;
  }

  secured(stream: TLSSocket): void {
    if (this.#mode !== 'handshake') return;
    this.#host.counted('tlsHandshakes', 1);
    this.#handle.find({ tags: [`tls-${(stream.getProtocol() ?? 'unknown').toLowerCase()}`] });
    if (this.#dialogue) {
      this.#mode = 'talk';
      this.#guard(() => {
        this.#dialogue?.secured?.(this);
        return 0;
      });
      return;
    }
    this.#mode = 'detect';
    this.#protocol = undefined;
    this.#silent = true;
    this.#attempts = 0;
    this.#await();
  }

  #tlsFailed(code: string | undefined): void {
    this.#mode = 'deaf';
    this.#host.counted('tlsFailures', 1);
    const reason = (code ?? 'unknown').toLowerCase().replaceAll('_', '-').slice(0, 64);
    this.#handle.find({ tags: ['tls-handshake-failed', reason] });
    this.#outcome ??= this.#clientEnded ? 'client-closed' : 'server-closed';
  }
}
