// The gateway's kernel-path thread: reads captured packets and ended connections as libuv finds them readable, follows the
// flows, hands sessions and probes to the main thread in batches. What the main thread has not worked off stays in the
// kernel's buffers, which count what they drop. Started by kernel-path-intake.ts; descriptors are closed there.

import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../base/clock.ts';
import { ConntrackReader } from '../kernel/conntrack-events.ts';
import { FlowCaptureReader } from '../kernel/flow-capture.ts';
import { ENOBUFS, runWhenIdle } from '../kernel/libc.ts';
import type { NamedSocket } from '../kernel/named-socket.ts';
import { Readiness } from '../kernel/readiness.ts';
import type { ProbeRecord } from '../model/event.ts';
import { FlowTracker } from './flow-tracker.ts';
import type {
  FlowEvent,
  FromKernelPathWorker,
  KernelPathCounters,
  KernelPathData,
  ToKernelPathWorker,
} from './kernel-path-protocol.ts';
import { networkFrom } from './packet-protocol.ts';
import { ProbeTracker } from './probe-tracker.ts';
import { ServicePlaces } from './service-places.ts';
import { createTupleSeeds } from './tuple-key.ts';

/** What the main thread may have in hand; reading pauses beyond it. */
const creditBytes = 32 << 20;
const creditEvents = 200_000;
/** Probe records the main thread may have in hand; beyond it they are dropped and counted. */
const creditRecords = 20_000;
/** A batch goes out at this size at the latest, or with the next tick. */
const batchBytes = 1 << 20;
const batchEvents = 2048;
/** Netlink datagrams read before others get their turn: up to 64 packets in each. */
const readsPerTurn = 32;
const tickMs = 25;
const port = parentPort;
if (!port) throw new Error('kernel-path-worker runs as a worker thread');
const data = workerData as KernelPathData;
const post = (message: FromKernelPathWorker, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer);
// The path comes first: what waits here is kept by the kernel, and what it must drop is counted there.
runWhenIdle();

let places = new ServicePlaces(data.networks.map(networkFrom), data.ports);
let records: ProbeRecord[] = [];
let recordsInHand = 0;
let eventsInHand = 0;
let bytesInHand = 0;
let events: FlowEvent[] = [];
let batch = new Uint8Array(batchBytes);
let filled = 0;
const totals = { packets: 0, packetsLost: 0, endingsLost: 0, probesDropped: 0 };

const probes = new ProbeTracker(createTupleSeeds(), systemClock, (record) => {
  if (recordsInHand >= creditRecords) {
    totals.probesDropped += record.targets.reduce((sum, { count }) => sum + count, record.unlisted);
    return;
  }
  recordsInHand += 1;
  records.push(record);
});

const macScratch = new Uint8Array(256);

const tracker = new FlowTracker(
  systemClock,
  {
    open: (flow, start, tags) => add({ kind: 'open', flow, start, tags }),
    chunk(flow, direction, bytes, at) {
      if (filled + bytes.length > batch.length) send();
      if (bytes.length > batch.length) batch = new Uint8Array(bytes.length);
      batch.set(bytes, filled);
      add({ kind: 'chunk', flow, direction, at, from: filled, length: bytes.length });
      filled += bytes.length;
    },
    skip: (flow, direction, count) => add({ kind: 'skip', flow, direction, count }),
    close: (flow, outcome, at) => add({ kind: 'close', flow, outcome, at }),
    probe(kind, place, packet, mac, at) {
      // The tracker reads the sender's MAC beside the packet.
      const room = macScratch.length - 8;
      const length = Math.min(packet.length, room);
      macScratch.set(packet.subarray(0, length), 8);
      if (mac) macScratch.set(Buffer.from(mac.replaceAll(':', ''), 'hex'), 0);
      probes.packet(place.network, `weir:${kind}:${place.diversion}`, macScratch, 8, length, mac ? 0 : -1, at);
    },
  },
  (mark, ip) => places.find(mark, ip),
  { flows: data.limits.sessions, sessionBytes: data.limits.sessionBytes, idleMs: data.limits.idleTimeoutMs },
);

function add(event: FlowEvent): void {
  events.push(event);
  if (events.length >= batchEvents) send();
}

function send(): void {
  if (events.length === 0) return;
  const bytes = batch.slice(0, filled);
  eventsInHand += events.length;
  bytesInHand += filled;
  post({ type: 'flows', events, bytes }, [bytes.buffer]);
  events = [];
  filled = 0;
}

function sendProbes(): void {
  if (records.length === 0) return;
  post({ type: 'probes', records });
  records = [];
}

interface Watched {
  readonly socket: NamedSocket;
  readonly readiness: Readiness;
  readonly capture?: FlowCaptureReader;
  readonly conntrack?: ConntrackReader;
}

const watched = new Map<number, Watched>();

const behind = (): boolean => eventsInHand >= creditEvents || bytesInHand >= creditBytes;

/** True when everything there was is read. */
function readCapture(one: Watched, reader: FlowCaptureReader): boolean {
  for (let count = 0; count < readsPerTurn; count += 1) {
    if (behind()) {
      one.readiness.pause();
      return false;
    }
    const before = reader.lost;
    const got = reader.read((packet) => tracker.packet(packet));
    // The end of a connection may be among them.
    if (reader.lost > before) tracker.endingsLost();
    if (got === 0) return true;
    if (got < 0 && got !== -ENOBUFS) {
      one.readiness.pause();
      return true;
    }
  }
  return false;
}

function readEndings(one: Watched, reader: ConntrackReader): void {
  // The last packets of a connection come before its ending, or it would look like one nobody has seen.
  for (const { capture, ...other } of watched.values()) if (capture && !readCapture({ ...other, capture }, capture)) return;
  for (let count = 0; count < readsPerTurn * 8; count += 1) {
    if (behind()) {
      one.readiness.pause();
      return;
    }
    const got = reader.read((ended) => tracker.ended(ended));
    if (got === 0) return;
    if (got === -ENOBUFS) {
      totals.endingsLost += 1;
      tracker.endingsLost();
    } else if (got < 0) {
      one.readiness.pause();
      return;
    }
  }
}

function watch(socket: NamedSocket): void {
  if (watched.has(socket.fd)) return;
  if (socket.role === 'capture') {
    const capture = new FlowCaptureReader(socket.fd);
    const readiness = new Readiness(socket.fd, { readable: true }, () => void readCapture(one, capture));
    const one: Watched = { socket, capture, readiness };
    watched.set(socket.fd, one);
  } else if (socket.role === 'conntrack') {
    const conntrack = new ConntrackReader(socket.fd);
    const readiness = new Readiness(socket.fd, { readable: true }, () => readEndings(one, conntrack));
    const one: Watched = { socket, conntrack, readiness };
    watched.set(socket.fd, one);
  }
}

function setSockets(sockets: readonly NamedSocket[]): void {
  const wanted = new Set(sockets.map(({ fd }) => fd));
  const released: number[] = [];
  for (const [fd, one] of watched) {
    if (wanted.has(fd)) continue;
    watched.delete(fd);
    one.readiness.close();
    // Its namespace may be gone, and nobody tells of the connections that went with it.
    if (one.conntrack) tracker.endingsLost();
    totals.packets += one.capture?.packets ?? 0;
    totals.packetsLost += one.capture?.lost ?? 0;
    released.push(fd);
  }
  for (const socket of sockets) watch(socket);
  if (released.length > 0) post({ type: 'released', fds: released });
}

function counters(): KernelPathCounters {
  // What the tracker of probes drops is dropped here too: its bounds are per second and per source.
  const all = { ...totals, probesDropped: totals.probesDropped + probes.counters.dropped };
  for (const { capture } of watched.values()) {
    all.packets += capture?.packets ?? 0;
    all.packetsLost += capture?.lost ?? 0;
  }
  return { ...all, ...tracker.counters };
}

let ticks = 0;
const timer = setInterval(() => {
  ticks += 1;
  tracker.tick();
  send();
  if (ticks % 8 === 0) {
    probes.tick();
    sendProbes();
  }
  if (ticks % 40 === 0) post({ type: 'counters', counters: counters() });
}, tickMs);

port.on('message', (message: ToKernelPathWorker) => {
  switch (message.type) {
    case 'credit':
      eventsInHand -= message.events;
      bytesInHand -= message.bytes;
      recordsInHand -= message.records;
      if (!behind()) for (const { readiness } of watched.values()) if (readiness.paused) readiness.resume();
      break;
    case 'sockets':
      setSockets(message.sockets);
      break;
    case 'networks':
      places = new ServicePlaces(message.networks.map(networkFrom), message.ports);
      break;
    case 'report':
      post({ type: 'counters', counters: counters() });
      break;
    case 'stop':
      clearInterval(timer);
      for (const one of watched.values()) if (one.capture) readCapture(one, one.capture);
      tracker.flush();
      send();
      probes.flush();
      sendProbes();
      post({ type: 'counters', counters: counters() });
      setSockets([]);
      post({ type: 'stopped' });
      port.close();
  }
});

setSockets(data.sockets);
