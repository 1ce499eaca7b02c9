// The thread behind arp-prober.ts: sends probes in batches at a steady rate and marks who answers. Blocks on purpose;
// it has nothing else to do. One bit per address, so its memory does not depend on who answers.

import { parentPort, workerData } from 'node:worker_threads';
import { asWeirError } from '../base/errors.ts';
import { type Address, type AddressRange, addressBytes, addressFromBytes, rangeSize, uniteRanges } from '../model/address.ts';
import type { ProbeWorkerAnswer, ProbeWorkerData } from './arp-prober.ts';
import { callFailed, closeDescriptor, EAGAIN, EINTR, ENOBUFS, receiveMessages, sendMessages } from './libc.ts';
import { MessageBatch } from './message-header.ts';
import { arpProbeTargetAt, parseNeighbourFrame, renderAddressProbe, renderArpProbe } from './neighbour-frame.ts';
import { openNeighbourSocket } from './neighbour-socket.ts';
import { macText } from './saved-syn.ts';

const port = parentPort;
if (!port) throw new Error('arp-prober-worker runs as a worker thread');
const data = workerData as ProbeWorkerData;

const batchSize = 64;
/** Between rounds, so that a host that was busy gets its chance. */
const roundPauseMs = 300;
/** After the last probe. */
const lastWaitMs = 500;
const maxMacs = 4096;

const sleeper = new Int32Array(new SharedArrayBuffer(4));
const sleep = (ms: number): void => void Atomics.wait(sleeper, 0, 0, ms);
const stopFlag = new Int32Array(data.stop);
const stopped = (): boolean => Atomics.load(stopFlag, 0) !== 0;

/** A range and where its bits start. */
interface Span {
  readonly range: AddressRange;
  readonly size: number;
  readonly bitAt: number;
}

class Survey {
  readonly #spans: Span[] = [];
  readonly #live: Uint8Array;
  readonly #macs = new Map<string, number>();
  readonly #in = new MessageBatch({ count: 64, nameBytes: 0, dataBytes: 256, controlBytes: 0 });
  readonly #out = new MessageBatch({ count: batchSize, nameBytes: 0, dataBytes: 96, controlBytes: 0 });
  readonly #fd: number;
  readonly #ownMac: Uint8Array;
  sent = 0;

  constructor(fd: number, ownMac: Uint8Array) {
    this.#fd = fd;
    this.#ownMac = ownMac;
    let bits = 0;
    for (const range of data.ranges) {
      const size = Number(rangeSize(range));
      this.#spans.push({ range, size, bitAt: bits });
      bits += size;
    }
    this.#live = new Uint8Array((bits + 7) >> 3);
  }

  round(): void {
    const started = performance.now();
    let sentNow = 0;
    for (const { range, size, bitAt } of this.#spans) {
      let offset = 0;
      while (offset < size && !stopped()) {
        const due = Math.floor(((performance.now() - started) * data.ratePerSecond) / 1000) + 1 - sentNow;
        if (due <= 0) {
          this.listen(Math.max(1, Math.min(20, 1000 / data.ratePerSecond)));
          continue;
        }
        const limit = Math.min(batchSize, due);
        let count = 0;
        while (count < limit && offset < size) {
          if (!this.#isLive(bitAt + offset)) {
            this.#fill(count, range, offset);
            count += 1;
          }
          offset += 1;
        }
        this.#send(count);
        sentNow += count;
        if (sentNow % 1024 < batchSize) this.#receive();
      }
    }
  }

  /** Takes answers in for this long. */
  listen(ms: number): void {
    const end = performance.now() + ms;
    for (;;) {
      this.#receive();
      const left = end - performance.now();
      if (left <= 0 || stopped()) return;
      sleep(Math.min(left, 5));
    }
  }

  result(): { live: AddressRange[]; answers: { mac: string; addresses: number }[]; probesSent: number } {
    const live: AddressRange[] = [];
    for (const { range, size, bitAt } of this.#spans)
      for (let offset = 0; offset < size; offset += 1) {
        if (!this.#isLive(bitAt + offset)) continue;
        const first = offset;
        while (offset + 1 < size && this.#isLive(bitAt + offset + 1)) offset += 1;
        live.push({ family: range.family, first: range.first + BigInt(first), last: range.first + BigInt(offset) });
      }
    const answers = [...this.#macs]
      .map(([mac, addresses]) => ({ mac, addresses }))
      .sort((a, b) => b.addresses - a.addresses)
      .slice(0, 16);
    return { live: uniteRanges(live), answers, probesSent: this.sent };
  }

  #isLive(bit: number): boolean {
    return ((this.#live[bit >> 3] >> (bit & 7)) & 1) === 1;
  }

  #fill(index: number, range: AddressRange, offset: number): void {
    const at = index * this.#out.shape.dataBytes;
    if (range.family === 4) {
      const value = Number(range.first) + offset;
      if (this.#out.data[at + 12] !== 0x08) this.#out.data.set(renderArpProbe(this.#ownMac, new Uint8Array(4)), at);
      const target = at + arpProbeTargetAt;
      this.#out.data[target] = value >>> 24;
      this.#out.data[target + 1] = (value >>> 16) & 255;
      this.#out.data[target + 2] = (value >>> 8) & 255;
      this.#out.data[target + 3] = value & 255;
      this.#out.setDataLength(index, 42);
    } else {
      const frame = renderAddressProbe(this.#ownMac, addressBytes({ family: 6, value: range.first + BigInt(offset) }));
      this.#out.data.set(frame, at);
      this.#out.setDataLength(index, frame.length);
    }
  }

  #send(count: number): void {
    let from = 0;
    let patience = 2000;
    while (from < count && !stopped()) {
      const result = sendMessages(this.#fd, this.#out.headers.subarray(from * 64), count - from);
      if (result >= 0) {
        from += result;
        continue;
      }
      if (result !== -EAGAIN && result !== -ENOBUFS && result !== -EINTR)
        throw callFailed('sendmmsg', -result, { interface: data.interface });
      patience -= 1;
      if (patience === 0) throw callFailed('sendmmsg', -result, { interface: data.interface });
      sleep(1);
    }
    this.sent += from;
  }

  #receive(): void {
    for (let turn = 0; turn < 64; turn += 1) {
      this.#in.reset(this.#in.shape.count);
      const got = receiveMessages(this.#fd, this.#in.headers, this.#in.shape.count);
      if (got <= 0) return;
      for (let index = 0; index < got; index += 1) {
        const at = index * this.#in.shape.dataBytes;
        this.#take(this.#in.data.subarray(at, at + this.#in.length(index)));
      }
      if (got < this.#in.shape.count) return;
    }
  }

  #take(bytes: Uint8Array): void {
    const frame = parseNeighbourFrame(bytes);
    if (!frame) return;
    const mac = macText(frame.mac, 0);
    if (!mac || mac === macText(this.#ownMac, 0)) return;
    // An advertisement speaks of its target, everything else of its sender; a probe has none.
    const address: Address = addressFromBytes(frame.kind === 'advertisement' ? frame.target : frame.sender);
    for (const { range, bitAt } of this.#spans) {
      if (range.family !== address.family || address.value < range.first || address.value > range.last) continue;
      const bit = bitAt + Number(address.value - range.first);
      if (this.#isLive(bit)) return;
      this.#live[bit >> 3] |= 1 << (bit & 7);
      if (this.#macs.has(mac) || this.#macs.size < maxMacs) this.#macs.set(mac, (this.#macs.get(mac) ?? 0) + 1);
      return;
    }
  }
}

function survey(): ProbeWorkerAnswer {
  const { netns, interface: name } = data;
  const socket = openNeighbourSocket({ interface: name, bufferBytes: 16 << 20, ...(netns ? { netns } : {}) });
  try {
    const work = new Survey(
      socket.fd,
      Uint8Array.from(socket.mac.split(':'), (part) => Number.parseInt(part, 16)),
    );
    for (let round = 0; round < data.rounds && !stopped(); round += 1) {
      if (round > 0) work.listen(roundPauseMs);
      work.round();
    }
    work.listen(lastWaitMs);
    return { type: 'done', found: work.result() };
  } finally {
    closeDescriptor(socket.fd);
  }
}

let answer: ProbeWorkerAnswer;
try {
  answer = survey();
} catch (error) {
  const { code, message, details } = asWeirError(error);
  answer = { type: 'failed', code, message, details };
}
port.postMessage(answer);
