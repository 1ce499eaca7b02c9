// Ends a TCP connection that passes by, busy or idle, by exact RSTs to both ends: numbers from what is seen, or from the challenge ACK that a
// SYN under the other end's name draws (RFC 5961). Verified by asking each end: one without the connection answers with a RST.
// Bounded in time and in segments sent.

import { printable } from '../../base/printable.ts';
import { CaptureSocket, linkTypeOfHardware, readHardwareTypes } from '../../kernel/capture/capture-socket.ts';
import { hashOf } from '../../kernel/capture/filter-program.ts';
import type { FilterInstruction } from '../../kernel/packet-socket.ts';
import { RawSender } from '../../kernel/raw-sender.ts';
import { portsFilter } from '../../kernel/sniff-socket.ts';
import { type Address, renderAddress } from '../../model/address.ts';
import { renderSegment } from '../../model/tcp-segment.ts';
import { type PacketView, tcpFlags, viewPacket } from '../capture/packet-view.ts';

/** One end as it sees the connection: its own address and whom it takes for its peer. */
export interface PathEnd {
  readonly address: Address;
  readonly port: number;
  readonly peer: Address;
  readonly peerPort: number;
}

export type PathMethod = 'challenge-rst' | 'sniffed-rst';

export interface PathOutcome {
  readonly method: PathMethod;
  /** Both ends said that they have no such connection. */
  readonly verified: boolean;
  /** In words, for each end. */
  readonly detail: string;
}

/** One socket sends one challenge ACK in 500 ms (net.ipv4.tcp_invalid_ratelimit). */
const roundMs = 600;
const listenMs = 60;
const maxInterfaces = 64;
const acceptAll: FilterInstruction[] = [[0x06, 0, 0, 0x40000]];

interface Knowledge {
  /** What it sends next, and what it waits for: by its own last segment. */
  next: number | undefined;
  awaits: number | undefined;
  /** It answered what does not fit with a RST: it has no socket. */
  gone: boolean;
  answered: boolean;
}

const isFrom = ({ source, sourcePort, destination, destinationPort }: PacketView, end: PathEnd): boolean =>
  sourcePort === end.port &&
  destinationPort === end.peerPort &&
  source === renderAddress(end.address) &&
  destination === renderAddress(end.peer);

class PathKill {
  readonly #ends: readonly [PathEnd, PathEnd];
  readonly #known: [Knowledge, Knowledge];
  readonly #sender: RawSender;
  readonly #sockets: CaptureSocket[] = [];
  /** Interfaces an answer may have come by unheard. */
  readonly #unheard: string[] = [];
  /** Numbers came without our asking. */
  #sniffed = true;
  #asked = false;
  #wake: () => void = () => {};

  constructor(netns: string | undefined, ends: readonly [PathEnd, PathEnd]) {
    this.#ends = ends;
    const unknown = (): Knowledge => ({ next: undefined, awaits: undefined, gone: false, answered: false });
    this.#known = [unknown(), unknown()];
    this.#sender = new RawSender(netns);
    try {
      for (const [name, hardware] of readHardwareTypes(netns)) {
        const linkType = linkTypeOfHardware(hardware);
        if (linkType === undefined || this.#sockets.length >= maxInterfaces) {
          this.#unheard.push(name);
          continue;
        }
        const instructions = linkType === 1 ? portsFilter([ends[0].port]) : acceptAll;
        const program = { expression: '', linkType, instructions, hash: hashOf(instructions) };
        const socket = new CaptureSocket({
          interface: name,
          ...(netns === undefined ? {} : { netns }),
          program,
          promiscuous: false,
          snap: 192,
        });
        this.#sockets.push(socket);
        socket.follow(({ bytes, start, end }) => this.#see(viewPacket(bytes, start, end, linkType)));
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    for (const socket of this.#sockets) socket.close();
    this.#sender.close();
  }

  async run(boundMs: number): Promise<PathOutcome> {
    const end = performance.now() + boundMs;
    await this.#until(listenMs, () => this.#known.some(({ next }) => next !== undefined));
    while (performance.now() < end) {
      for (const index of [0, 1] as const) if (!this.#known[index].gone && !this.#canReset(index)) this.#challenge(index);
      await this.#until(roundMs, () => [0, 1].every((index) => this.#known[index].gone || this.#canReset(index as 0 | 1)));
      for (const index of [0, 1] as const) this.#reset(index);
      // The answer to a probe comes after what the RST did.
      for (const index of [0, 1] as const) this.#probe(index);
      await this.#until(Math.min(roundMs, end - performance.now()), () => this.#known.every(({ gone }) => gone));
      if (this.#known.every(({ gone }) => gone)) break;
      // A busy connection went on meanwhile: with its newest numbers again.
    }
    const words = this.#known.map(({ gone, answered }, index) => {
      const { address, port } = this.#ends[index];
      const what = gone ? 'has no such connection any more' : answered ? 'still answers for it' : 'did not answer';
      return `${renderAddress(address)} port ${port} ${what}`;
    });
    if (this.#unheard.length > 0) words.push(describeUnheard(this.#unheard));
    return {
      method: this.#sniffed ? 'sniffed-rst' : 'challenge-rst',
      verified: this.#known.every(({ gone }) => gone),
      detail: words.join('; '),
    };
  }

  #see(view: PacketView | undefined): void {
    const tcp = view?.tcp;
    if (!view || !tcp) return;
    for (const index of [0, 1] as const) {
      if (!isFrom(view, this.#ends[index])) continue;
      const known = this.#known[index];
      // What we sent under its name is seen too: those bear our mark.
      if (tcp.window === ownWindow) return;
      if (tcp.flags & tcpFlags.rst) known.gone = true;
      else if (tcp.flags & tcpFlags.ack && !(tcp.flags & tcpFlags.syn)) {
        known.answered = true;
        const length = view.payloadLength + (tcp.flags & tcpFlags.fin ? 1 : 0);
        known.next = (tcp.sequence + length) >>> 0;
        known.awaits = tcp.acknowledgement;
        if (this.#asked) this.#sniffed = false;
      }
    }
    this.#wake();
  }

  /** What an end awaits it says itself; else what its peer sends next is that, where nothing is under way. */
  #awaits(index: 0 | 1): number | undefined {
    return this.#known[index].awaits ?? this.#known[1 - index].next;
  }

  #canReset(index: 0 | 1): boolean {
    return this.#awaits(index) !== undefined;
  }

  #send(index: 0 | 1, flags: number, sequence: number, acknowledgement: number): void {
    // As the other end would send it: where addresses are translated, connection tracking does it for ours too.
    const { address, port, peer, peerPort } = this.#ends[1 - index];
    const fields = { source: address, sourcePort: port, destination: peer, destinationPort: peerPort };
    this.#sender.send(renderSegment({ ...fields, flags, sequence, acknowledgement, window: ownWindow }), peer);
  }

  #challenge(index: 0 | 1): void {
    this.#asked = true;
    this.#send(index, tcpFlags.syn, Math.floor(Math.random() * 2 ** 32), 0);
  }

  #reset(index: 0 | 1): void {
    const sequence = this.#awaits(index);
    if (sequence !== undefined && !this.#known[index].gone) this.#send(index, tcpFlags.rst, sequence, 0);
  }

  /** An old byte: who has the connection acknowledges again, who has not resets. */
  #probe(index: 0 | 1): void {
    const sequence = this.#awaits(index);
    if (sequence === undefined || this.#known[index].gone) return;
    this.#send(index, tcpFlags.ack, (sequence - 1) >>> 0, this.#known[index].next ?? this.#known[1 - index].awaits ?? 0);
  }

  /** Returns as soon as `done`, or after the time. */
  async #until(ms: number, done: () => boolean): Promise<void> {
    const end = performance.now() + ms;
    while (!done() && performance.now() < end)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.max(1, end - performance.now()));
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    this.#wake = () => {};
  }
}

/** In words. */
export function describeUnheard(names: readonly string[]): string {
  const more = names.length > 5 ? ` and ${names.length - 5} more` : '';
  return `not listened on: ${names
    .slice(0, 5)
    .map((name) => printable(name, 20))
    .join(', ')}${more}`;
}

/** A window no real end is likely to write: tells our segments apart where we see them leave. */
const ownWindow = 8191;

/**
 * `netns`: one the connection passes through, or ends in. Needs CAP_NET_RAW there. `ends`: each as it sees the connection: the same where
 * nothing is translated.
 */
export async function endOnPath(
  netns: string | undefined,
  ends: readonly [PathEnd, PathEnd],
  boundMs = 4000,
): Promise<PathOutcome> {
  const kill = new PathKill(netns, ends);
  try {
    return await kill.run(boundMs);
  } finally {
    kill.close();
  }
}
