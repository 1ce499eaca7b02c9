// One living link at the agent's end: its control stream, its flows, what is sent for safe keeping, its pulse. Ends once, and
// says why. Trying again is link-client.ts.

import http2, { type ClientHttp2Session, type ClientHttp2Stream, constants } from 'node:http2';
import { PassThrough, type Readable } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { WeirError } from '../../base/errors.ts';
import { type AgentMessage, type GatewayMessage, linkProtocol } from '../../model/agent.ts';
import { ControlReader, sendLine } from './control-lines.ts';
import { DatagramStream } from './datagram-stream.ts';
import { renderFlowHeader } from './flow-header.ts';
import type {
  DatagramFlow,
  DatagramRequest,
  FlowRequest,
  LinkClientCounters,
  LinkClientLimits,
  LinkClientOptions,
  Welcome,
} from './link-client-options.ts';
import { cutSession, type FlowKeeper, LinkFlow } from './link-flow.ts';
import { type FlowMessage, maxTakenStreams, parseGatewayMessage } from './link-messages.ts';
import { LinkPulse } from './link-pulse.ts';
import { frameBytes, linkWindowBytes, maxHeaderBytes, streamWindowBytes } from './server-session.ts';

export interface ClientSessionOwner {
  readonly options: LinkClientOptions;
  readonly limits: LinkClientLimits;
  readonly counters: LinkClientCounters;
  onWelcome(welcome: Welcome): void;
  /** Once. */
  onClosed(reason: string): void;
}

/** A gateway ends a stream it was told about within this; later we do, by the frame it takes few of. */
const patienceMs = 20_000;
const closeMs = 1_000;
/** How long what we heard waits for more of its kind, and for room on the control stream. */
const tellMs = 2;
const againMs = 100;

export class ClientSession implements FlowKeeper {
  readonly #owner: ClientSessionOwner;
  readonly #socket: TLSSocket;
  readonly #session: ClientHttp2Session;
  readonly #control: ClientHttp2Stream;
  readonly #pulse: LinkPulse;
  readonly #welcomeTimer: NodeJS.Timeout;
  /** Streams of flows, ended or not, until the gateway has let them go. */
  #open = 0;
  /** The gateway wants to hear which flows we know it took. */
  #claims = false;
  #taken: number[] = [];
  #tellTimer: NodeJS.Timeout | undefined;
  #reason: string | undefined;
  #over = false;
  readonly #whenOver: Promise<void>;
  #settleOver: () => void = () => {};

  constructor(socket: TLSSocket, owner: ClientSessionOwner) {
    this.#owner = owner;
    this.#socket = socket;
    this.#whenOver = new Promise((resolve) => {
      this.#settleOver = resolve;
    });
    const { limits, options } = owner;
    this.#session = http2.connect('https://gateway', {
      createConnection: () => socket,
      settings: {
        enablePush: false,
        initialWindowSize: streamWindowBytes,
        maxFrameSize: frameBytes,
        maxHeaderListSize: maxHeaderBytes,
        maxConcurrentStreams: 0,
      },
      maxHeaderListPairs: 16,
      maxReservedRemoteStreams: 0,
      // As many as we open; the gateway's own limit counts from its first frame on.
      peerMaxConcurrentStreams: limits.flows + 16,
      maxSessionMemory: 128,
    });
    this.#session.on('error', (error) => this.#end(`HTTP/2: ${error.message}`));
    this.#session.on('goaway', (code) => this.#end(`the gateway ended the link (HTTP/2 code ${code})`));
    this.#session.on('close', () => this.#finish());
    this.#session.once('connect', () => this.#session.setLocalWindowSize(linkWindowBytes));
    this.#control = this.#session.request({ ':method': 'POST', ':path': '/control' }, { endStream: false });
    this.#openControl();
    this.#pulse = new LinkPulse({
      session: this.#session,
      receivedBytes: () => socket.bytesRead,
      everyMs: limits.pingEveryMs,
      deadAfterMs: limits.deadAfterMs,
      onDead: () => this.#end('nothing was heard any more'),
    });
    this.#welcomeTimer = setTimeout(() => this.#end('no welcome came'), limits.connectMs);
    this.send({ kind: 'hello', protocol: linkProtocol, ...options.hello() });
  }

  get latencyMicros(): number | undefined {
    return this.#pulse.latencyMicros;
  }

  get openFlows(): number {
    return this.#open;
  }

  send(message: AgentMessage | FlowMessage): boolean {
    return sendLine(this.#control, message, this.#owner.limits.controlBytes);
  }

  openFlow(request: FlowRequest): LinkFlow | undefined {
    const header = renderFlowHeader(request);
    const stream = this.#request('/flow', header);
    if (!stream) return undefined;
    if (request.session !== undefined) stream.once('response', () => this.#heard(stream));
    return new LinkFlow(stream, this, { sentBytes: header.length, receivedBytes: 0, asked: true });
  }

  openDatagrams(request: DatagramRequest): DatagramFlow | undefined {
    const { counters, limits } = this.#owner;
    const stream = this.#request('/flow', renderFlowHeader(request));
    if (!stream) return undefined;
    stream.once('response', () => request.onTaken?.());
    if (request.session !== undefined) stream.once('response', () => this.#heard(stream));
    const datagrams = new DatagramStream(stream, {
      waitingBytes: limits.datagramBytes,
      onDatagram: (bytes) => request.onDatagram(bytes),
      onEnd: () => request.onEnd(),
    });
    return {
      send: (bytes) => {
        const sent = datagrams.send(bytes);
        if (sent) counters.datagrams += 1;
        else counters.datagramsDropped += 1;
        return sent;
      },
      close: () => {
        datagrams.close();
        this.#watch(stream);
      },
    };
  }

  sendSpool(batch: Uint8Array): Promise<void> {
    const { spoolMs } = this.#owner.limits;
    return new Promise((resolve, reject) => {
      if (this.#over || this.#session.destroyed) {
        reject(new WeirError('not-running', 'there is no link'));
        return;
      }
      const stream = this.#session.request({ ':method': 'POST', ':path': '/spool' }, { endStream: false });
      let status = 0;
      const fail = (error: WeirError): void => {
        clearTimeout(timer);
        reject(error);
      };
      let timer = setTimeout(() => late(), 10 * spoolMs);
      const late = (): void => {
        fail(new WeirError('timeout', 'the gateway did not take records in time'));
        stream.close(constants.NGHTTP2_CANCEL);
      };
      stream.on('error', () => {});
      stream.once('continue', () => {
        clearTimeout(timer);
        timer = setTimeout(late, spoolMs);
        stream.end(batch);
      });
      stream.on('response', (headers) => {
        status = Number(headers[':status']);
        if (status !== 200) stream.end();
      });
      stream.resume();
      stream.on('close', () => {
        if (status === 200) {
          clearTimeout(timer);
          resolve();
        } else if (status !== 0) fail(new WeirError('store-unavailable', `the gateway refused records (${status})`));
        else fail(new WeirError('not-running', 'the link broke'));
      });
    });
  }

  fetchProgram(version: string): Readable {
    const program = new PassThrough();
    const stream = this.#session.request({ ':method': 'GET', ':path': `/program/${encodeURIComponent(version)}` });
    let found = false;
    stream.on('error', () => {});
    stream.on('response', (headers) => {
      found = headers[':status'] === 200;
      if (!found) program.destroy(new WeirError('not-found', `the gateway has no program ${version}`));
    });
    stream.on('data', (bytes: Buffer) => {
      if (found && !program.destroyed && !program.write(bytes)) stream.pause();
    });
    program.on('drain', () => stream.resume());
    stream.on('end', () => {
      if (found && stream.rstCode === constants.NGHTTP2_NO_ERROR) program.end();
    });
    stream.on('close', () => {
      if (!program.writableEnded) program.destroy(new WeirError('not-running', 'the link broke'));
    });
    program.on('close', () => {
      if (!stream.closed) stream.close(constants.NGHTTP2_CANCEL);
    });
    return program;
  }

  async close(): Promise<void> {
    this.#end('closed');
    await this.#whenOver;
  }

  reset(flow: LinkFlow): void {
    this.send({ kind: 'reset', stream: flow.stream.id ?? 0, bytes: flow.sentBytes });
    this.#watch(flow.stream as ClientHttp2Stream);
  }

  abandon(flow: LinkFlow): void {
    const stream = flow.stream as ClientHttp2Stream;
    if (stream.writable) stream.end();
    this.send({ kind: 'abandon', stream: stream.id ?? 0 });
    this.#watch(stream);
  }

  /** What waits is bounded by the window of each flow, and those by `flows`. */
  stalled(): void {}

  #watch(stream: ClientHttp2Stream): void {
    if (stream.destroyed) return;
    const timer = setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), patienceMs).unref();
    stream.once('close', () => clearTimeout(timer));
  }

  #heard({ id }: ClientHttp2Stream): void {
    if (!this.#claims || id === undefined) return;
    this.#taken.push(id);
    this.#tellTimer ??= setTimeout(() => this.#tellTaken(), tellMs);
  }

  /** Several at once: a scan opens thousands a second. */
  #tellTaken(): void {
    this.#tellTimer = undefined;
    while (this.#taken.length > 0 && this.#reason === undefined) {
      if (!this.send({ kind: 'taken', streams: this.#taken.slice(0, maxTakenStreams) })) {
        this.#tellTimer = setTimeout(() => this.#tellTaken(), againMs);
        return;
      }
      this.#taken = this.#taken.slice(maxTakenStreams);
    }
  }

  #request(path: string, header: Uint8Array): ClientHttp2Stream | undefined {
    const { limits, counters } = this.#owner;
    if (this.#over || this.#reason !== undefined || this.#session.destroyed || this.#session.closed) return undefined;
    if (this.#open >= limits.flows) return undefined;
    this.#open += 1;
    const stream = this.#session.request({ ':method': 'POST', ':path': path }, { endStream: false });
    let answered = false;
    stream.once('response', () => {
      answered = true;
    });
    stream.on('error', () => {});
    stream.once('close', () => {
      this.#open -= 1;
      if (!answered && this.#reason === undefined) counters.flowsTurnedAway += 1;
    });
    stream.write(header);
    return stream;
  }

  #openControl(): void {
    const { limits } = this.#owner;
    const reader = new ControlReader(limits.controlLineBytes, (line) => this.#read(line));
    this.#control.on('data', (bytes: Buffer) => {
      if (!reader.push(bytes)) this.#end('the gateway sent a line that is too long');
    });
    this.#control.on('error', () => {});
    this.#control.on('close', () => this.#end('the control stream ended'));
  }

  #read(line: string): void {
    if (this.#reason !== undefined) return;
    const message = parseGatewayMessage(line);
    if (!message) {
      this.#owner.counters.badMessages += 1;
      return;
    }
    try {
      this.#take(message);
    } catch (error) {
      this.#owner.options.log.error("a message of the gateway's could not be followed", {
        kind: message.kind,
        error: String(error),
      });
    }
  }

  #take(message: GatewayMessage): void {
    const { options } = this.#owner;
    if (message.kind === 'welcome') {
      if (message.protocol !== linkProtocol) {
        const { protocol, version } = message;
        this.#end(`the gateway speaks link protocol ${protocol} (version ${version}), this agent ${linkProtocol}`);
        return;
      }
      clearTimeout(this.#welcomeTimer);
      this.#claims = message.claims === true;
      this.#owner.onWelcome(message);
      options.onWelcome?.(message, options.clock() - message.clock);
    } else if (message.kind === 'rules') options.onRules(message.rules, message.configuration);
    else if (message.kind === 'touch') options.onTouch(message);
    else if (message.kind === 'upgrade') options.onUpgrade(message);
    else if (message.kind === 'certificate') options.onCertificate(message.certificate);
    else {
      options.onGoodbye?.(message.reason);
      this.#end(`the gateway ended it: ${message.reason}`);
    }
  }

  #end(reason: string): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    // Destroyed outright, what was written just before would be lost: the gateway is told by the end of the control stream.
    if (reason === 'closed' && this.#control.writable) {
      this.#control.end();
      this.#session.close();
      const timer = setTimeout(() => this.#destroy(), closeMs);
      this.#session.once('close', () => clearTimeout(timer));
    } else this.#destroy();
  }

  #destroy(): void {
    cutSession(this.#session, this.#reason ?? 'it ended');
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#welcomeTimer);
    clearTimeout(this.#tellTimer);
    this.#pulse.close();
    this.#socket.destroy();
    this.#settleOver();
    this.#owner.onClosed(this.#reason ?? 'the connection ended');
  }
}
