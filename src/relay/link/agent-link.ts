// One agent's link at the gateway's end, from its handshake to its end: which streams it may open, the control stream's
// messages, its pulse. Flows are agent-flows.ts; which agent may come, and what is known of it, is link-server.ts.

import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import { pipeline } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { RateBudget } from '../../base/rate-budget.ts';
import { type AgentMessage, type GatewayMessage, linkProtocol } from '../../model/agent.ts';
import { AgentFlows, type AgentFlowsOwner } from './agent-flows.ts';
import { ControlReader, sendLine } from './control-lines.ts';
import { cutSession, cutStream } from './link-flow.ts';
import { parseAgentMessage, parseForeignHello } from './link-messages.ts';
import { LinkPulse } from './link-pulse.ts';
import { openServerSession } from './server-session.ts';
import type { SpoolDesk } from './spool-desk.ts';

export interface AgentLinkOwner extends AgentFlowsOwner {
  readonly spoolDesk: SpoolDesk;
  /** The first message; answers whether the link may stay. */
  onHello(link: AgentLink, hello: Extract<AgentMessage, { kind: 'hello' }>): void;
  /** Instead of `onHello`: it speaks another protocol, and the link ends. */
  onForeign(link: AgentLink, hello: { readonly protocol: number; readonly version?: string }): void;
  /** Every later one. */
  onMessage(link: AgentLink, message: AgentMessage): void;
  onBeat(): void;
  /** Once; `reason` is for the agent's status. */
  onClosed(link: AgentLink, reason: string): void;
}

const streamsBesideFlows = 64;
/** Requests for what there is not, before the link ends. */
const strangeRequests = 20;
/** Of messages that are not about single flows. */
const messageBurst = 200;
const messagesPerSecond = 50;
/** Of those that are. */
const flowMessagesPerSecond = 20_000;
/** How long a link that was told goodbye may still be sending. */
const goodbyeMs = 2_000;

export class AgentLink {
  readonly agent: string;
  readonly certificateUntil: string;
  readonly peer: string;
  readonly flows: AgentFlows;
  greeted = false;
  readonly whenClosed: Promise<void>;
  #settleClosed: () => void = () => {};
  /** Of the rules last sent. */
  rulesSent: string | undefined;
  readonly #owner: AgentLinkOwner;
  readonly #socket: TLSSocket;
  readonly #session: ServerHttp2Session;
  readonly #pulse: LinkPulse;
  readonly #helloTimer: NodeJS.Timeout;
  readonly #messages: RateBudget;
  readonly #flowMessages: RateBudget;
  #control: ServerHttp2Stream | undefined;
  #spooling = false;
  #fetching = false;
  #strange = 0;
  #ended: string | undefined;
  #closed = false;

  constructor(socket: TLSSocket, peer: { readonly agent: string; readonly certificateUntil: string }, owner: AgentLinkOwner) {
    const { limits, options } = owner;
    this.agent = peer.agent;
    this.certificateUntil = peer.certificateUntil;
    const ip = (socket.remoteAddress ?? '?').replace(/^::ffff:(?=\d+\.)/, '');
    this.peer = `${ip.includes(':') ? `[${ip}]` : ip}:${socket.remotePort ?? 0}`;
    this.whenClosed = new Promise((resolve) => {
      this.#settleClosed = resolve;
    });
    this.#owner = owner;
    this.#socket = socket;
    this.#messages = new RateBudget(messageBurst, messagesPerSecond, options.clock);
    this.#flowMessages = new RateBudget(flowMessagesPerSecond, flowMessagesPerSecond, options.clock);
    this.flows = new AgentFlows(peer.agent, owner);
    this.#session = openServerSession(socket, {
      maxStreams: limits.flowsPerAgent + streamsBesideFlows,
      clock: options.clock,
      onMisbehaviour: (what) => this.#misbehaved(what),
      onBroken: (reason) => this.destroy(reason),
    });
    this.#session.on('stream', (stream, headers) => this.#route(stream, headers));
    this.#session.on('close', () => this.#over());
    this.#pulse = new LinkPulse({
      session: this.#session,
      receivedBytes: () => socket.bytesRead,
      everyMs: limits.pingEveryMs,
      deadAfterMs: limits.deadAfterMs,
      onDead: () => {
        owner.counters.dead += 1;
        this.destroy('nothing was heard any more');
      },
      onBeat: () => owner.onBeat(),
    });
    this.#helloTimer = setTimeout(() => this.#misbehaved('no hello'), limits.helloMs).unref();
  }

  get latencyMicros(): number | undefined {
    return this.#pulse.latencyMicros;
  }

  /** False: the link ends, or too much waits for it. */
  send(message: GatewayMessage): boolean {
    if (this.#ended !== undefined || !this.#control) return false;
    const { rulesBytes } = this.#owner.limits;
    return sendLine(this.#control, message, 2 * rulesBytes);
  }

  /** Says goodbye, ends all flows, and closes. */
  end(reason: string): void {
    if (this.#ended !== undefined) return;
    this.send({ kind: 'goodbye', reason });
    this.#ended = reason;
    const timer = setTimeout(() => this.destroy(reason), goodbyeMs).unref();
    this.#session.once('close', () => clearTimeout(timer));
    if (this.#control?.writable) this.#control.end(() => this.destroy(reason));
    else this.destroy(reason);
  }

  destroy(reason: string): void {
    this.#ended ??= reason;
    cutSession(this.#session, this.#ended);
  }

  #over(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.destroy();
    clearTimeout(this.#helloTimer);
    this.#pulse.close();
    this.flows.close();
    this.#settleClosed();
    this.#owner.onClosed(this, this.#ended ?? 'the connection ended');
  }

  #misbehaved(what: string): void {
    if (this.#ended !== undefined) return;
    this.#owner.counters.misbehaved += 1;
    this.#owner.complain("an agent's link was ended for what came over it", { agent: this.agent, peer: this.peer, what });
    this.destroy(`it was ended: ${what}`);
  }

  #route(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    stream.on('error', () => {});
    if (this.#ended !== undefined) {
      cutStream(stream);
      return;
    }
    const request = `${headers[':method']} ${headers[':path']}`;
    if (request === 'POST /control' && !this.#control) this.#openControl(stream);
    else if (!this.greeted) this.#refuse(stream, 'a stream before hello');
    else if (request === 'POST /flow') this.flows.add(stream);
    else if (request === 'POST /spool' && !this.#spooling) this.#spool(stream);
    else if (request.startsWith('GET /program/') && !this.#fetching) this.#program(stream, request.slice(13));
    else this.#refuse(stream, 'a request for what there is not');
  }

  #refuse(stream: ServerHttp2Stream, what: string): void {
    this.#strange += 1;
    this.#owner.counters.requestsRefused += 1;
    if (this.#strange > strangeRequests) this.#misbehaved(what);
    else cutStream(stream);
  }

  #openControl(stream: ServerHttp2Stream): void {
    this.#control = stream;
    stream.respond({ ':status': 200 });
    const reader = new ControlReader(this.#owner.limits.controlLineBytes, (line) => this.#read(line));
    stream.on('data', (bytes: Buffer) => {
      if (this.#ended === undefined && !reader.push(bytes)) this.#misbehaved('a control line that is too long');
    });
    stream.on('close', () => {
      if (this.#ended === undefined) this.destroy('its control stream ended');
    });
    stream.on('end', () => this.destroy('the agent ended it'));
  }

  #read(line: string): void {
    if (this.#ended !== undefined) return;
    if (!this.greeted) {
      const foreign = parseForeignHello(line);
      if (foreign) {
        this.#owner.onForeign(this, foreign);
        this.send(this.#welcome());
        this.end('protocol');
        return;
      }
    }
    const message = parseAgentMessage(line);
    if (!message) {
      this.#misbehaved('a control line that is none');
      return;
    }
    if (message.kind === 'reset' || message.kind === 'abandon' || message.kind === 'taken') {
      if (this.#flowMessages.take()) this.flows.take(message);
      else this.#misbehaved('too many messages');
    } else if (!this.#messages.take()) this.#misbehaved('too many messages');
    else if (message.kind !== 'hello') {
      if (this.greeted) this.#owner.onMessage(this, message);
      else this.#misbehaved('a message before hello');
    } else if (this.greeted) this.#misbehaved('hello twice');
    else {
      clearTimeout(this.#helloTimer);
      // Its certificate may have been replaced since the handshake: then whoever has the new one is the agent.
      if (!this.#owner.options.gate.admit(this.#socket)) {
        this.#owner.counters.notAdmitted += 1;
        this.destroy('its certificate does not hold any more');
        return;
      }
      this.greeted = true;
      this.send(this.#welcome());
      this.#owner.onHello(this, message);
    }
  }

  #welcome(): GatewayMessage {
    const { version, clock } = this.#owner.options;
    return { kind: 'welcome', protocol: linkProtocol, version, agent: this.agent, clock: clock(), claims: true };
  }

  #spool(stream: ServerHttp2Stream): void {
    this.#spooling = true;
    stream.once('close', () => {
      this.#spooling = false;
    });
    this.#owner.spoolDesk.add(this.agent, stream);
  }

  #program(stream: ServerHttp2Stream, version: string): void {
    const program = /^[0-9A-Za-z.+-]{1,64}$/.test(version) ? this.#owner.options.program(version) : undefined;
    if (!program) {
      this.#owner.counters.requestsRefused += 1;
      stream.respond({ ':status': 404 }, { endStream: true });
      return;
    }
    this.#fetching = true;
    stream.respond({ ':status': 200 });
    pipeline(program, stream, (error) => {
      this.#fetching = false;
      if (error) this.#owner.complain('a program was not fetched to its end', { agent: this.agent, error: String(error) });
    });
  }
}
