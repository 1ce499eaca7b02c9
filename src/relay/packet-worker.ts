// The gateway's packet thread: reads UDP, NFLOG and neighbour sockets as libuv finds them readable, tracks probes,
// answers Neighbour Solicitations. What the main thread has not worked off stays in the kernel's buffers, which count
// what they drop. Started by packet-intake.ts; descriptors are closed there.

import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../base/clock.ts';
import { RateBudget } from '../base/rate-budget.ts';
import { receiveMessages, sendTo } from '../kernel/libc.ts';
import { MessageBatch } from '../kernel/message-header.ts';
import { parseNameFrame } from '../kernel/name-frame.ts';
import type { NamedSocket } from '../kernel/named-socket.ts';
import { createLogBuffer, NflogReader } from '../kernel/nflog-reader.ts';
import { Readiness } from '../kernel/readiness.ts';
import { createDatagramBuffers, readSocketDrops, UdpReader } from '../kernel/udp-reader.ts';
import { DecoyDirectory } from '../model/decoy.ts';
import type { ProbeRecord } from '../model/event.ts';
import { AcceptRing } from './accept-ring.ts';
import { macBytes } from './announcer.ts';
import { packDatagram, packedBytes } from './datagram-batch.ts';
import { NeighbourKeeper, noNeighbourCounters } from './neighbour-keeper.ts';
import { type IntakeNetwork, networkOf } from './network.ts';
import {
  type FromPacketWorker,
  type NameQuery,
  type NetworkSnapshot,
  networkFrom,
  type PacketCounters,
  type PacketWorkerData,
  type ToPacketWorker,
} from './packet-protocol.ts';
import { ProbeTracker } from './probe-tracker.ts';
import { SweepSchedule } from './sweep-schedule.ts';

/** Packed datagrams the main thread may have in hand; reading pauses beyond it. */
const datagramCredit = 8 << 20;
/** Probe records the main thread may have in hand; beyond it they are dropped and counted. */
const recordCredit = 20_000;
/** Reads from one UDP or neighbour socket before the others get their turn: about a thousand packets. */
const batchesPerTurn = 64;
/** As many packets: the kernel puts up to 64 into one. */
const loggedBatchesPerTurn = 16;
/** Questions for names the main thread may have in hand, and is given in a second: each costs it a look-up. */
const queryCredit = 1_024;
const queriesPerSecond = 100;
const tickMs = 50;
/** Over all networks: 500 a second. */
const announcementsPerTick = 25;

interface Watched {
  readonly socket: NamedSocket;
  readonly readiness: Readiness;
  readonly keeper?: NeighbourKeeper;
  readonly reader?: UdpReader | NflogReader;
}

const port = parentPort;
if (!port) throw new Error('packet-worker runs as a worker thread');
const data = workerData as PacketWorkerData;
const post = (message: FromPacketWorker, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer);

const byName = (snapshots: readonly NetworkSnapshot[]): Map<string, IntakeNetwork> =>
  new Map(snapshots.map((snapshot) => [snapshot.name, networkFrom(snapshot)]));
let networks = byName(data.networks);
const nobody = new DecoyDirectory([], new Map());
/** A socket may be here a moment before its network is known: nobody lives there until then. */
const residents = (socket: NamedSocket): IntakeNetwork =>
  networks.get(networkOf(socket)) ?? { name: networkOf(socket), directory: nobody, interfaces: {}, subnets: [] };
const ring = new AcceptRing(data.ring);
const watched = new Map<number, Watched>();
let records: ProbeRecord[] = [];
let recordsInHand = 0;
let datagramBytesInHand = 0;
let queriesInHand = 0;
const nameBudget = new RateBudget(queriesPerSecond * 2, queriesPerSecond, systemClock);
const totals = {
  datagrams: 0,
  datagramBytes: 0,
  datagramsMalformed: 0,
  probesLost: 0,
  probesDropped: 0,
  datagramsLost: 0,
  neighboursLost: 0,
  nameQueries: 0,
  nameQueriesDropped: 0,
  nameQueriesMalformed: 0,
  nameQueriesLost: 0,
};
const endedNeighbours = noNeighbourCounters();
const sweeps = new SweepSchedule(data.sweepRate, systemClock);

const tracker = new ProbeTracker(
  ring.seeds,
  systemClock,
  (record) => {
    if (recordsInHand >= recordCredit) {
      totals.probesDropped += record.targets.reduce((sum, { count }) => sum + count, record.unlisted);
      return;
    }
    recordsInHand += 1;
    records.push(record);
  },
  data.probeLimits,
);

function takeAccepts(): void {
  ring.drain((key, sequence) => tracker.accepted(key, sequence));
}

function postRecords(): void {
  if (records.length === 0) return;
  post({ type: 'probes', records });
  records = [];
}

const placeOf: { nameAt: number; destinationAt: number; dataAt: number; length: number }[] = [];

function readDatagrams(one: Watched, reader: UdpReader): void {
  for (let count = 0; count < batchesPerTurn; count += 1) {
    if (datagramBytesInHand >= datagramCredit) {
      one.readiness.pause();
      return;
    }
    placeOf.length = 0;
    let size = 0;
    let names = new Uint8Array(0);
    let control = names;
    let bytes = names;
    const got = reader.read((n, nameAt, c, destinationAt, d, dataAt, length) => {
      names = n as Uint8Array<ArrayBuffer>;
      control = c as Uint8Array<ArrayBuffer>;
      bytes = d as Uint8Array<ArrayBuffer>;
      placeOf.push({ nameAt, destinationAt, dataAt, length });
      size += packedBytes(length);
    });
    if (got <= 0) {
      if (got < 0) one.readiness.pause();
      return;
    }
    const batch = new Uint8Array(size);
    const view = new DataView(batch.buffer);
    let at = 0;
    for (const place of placeOf) {
      at = packDatagram(
        batch,
        view,
        at,
        systemClock(),
        names,
        place.nameAt,
        control,
        place.destinationAt,
        bytes,
        place.dataAt,
        place.length,
      );
      totals.datagramBytes += place.length;
    }
    totals.datagrams += placeOf.length;
    if (placeOf.length === 0) continue;
    datagramBytesInHand += size;
    post({ type: 'datagrams', network: networkOf(one.socket), batch, count: placeOf.length }, [batch.buffer]);
  }
}

function readProbes(one: Watched, reader: NflogReader): void {
  takeAccepts();
  const network = networkOf(one.socket);
  const carried = networks.get(network)?.agent !== undefined;
  for (let count = 0; count < loggedBatchesPerTurn; count += 1) {
    const got = reader.read((prefix, bytes, at, length, macAt) =>
      tracker.packet(network, prefix, bytes, at, length, carried ? -1 : macAt),
    );
    if (got < 0) one.readiness.pause();
    if (got <= 0) break;
  }
  postRecords();
}

// Read and worked off in one go, so that all sockets of a kind share their buffers: there may be hundreds.
const datagramBuffers = createDatagramBuffers();
const logBuffer = createLogBuffer();
const frames = new MessageBatch({ count: 32, nameBytes: 0, dataBytes: 512, controlBytes: 0 });

function readFrames(one: Watched, keeper: NeighbourKeeper): void {
  for (let count = 0; count < batchesPerTurn; count += 1) {
    frames.reset(frames.shape.count);
    const got = receiveMessages(one.socket.fd, frames.headers, frames.shape.count);
    if (got <= 0) return;
    for (let index = 0; index < got; index += 1) {
      const at = index * frames.shape.dataBytes;
      keeper.frame(frames.data.subarray(at, at + frames.length(index)));
    }
  }
}

const nameFrames = new MessageBatch({ count: 16, nameBytes: 0, dataBytes: 1_600, controlBytes: 0 });

function readNameQueries(one: Watched): void {
  const { fd } = one.socket;
  for (let count = 0; count < batchesPerTurn; count += 1) {
    nameFrames.reset(nameFrames.shape.count);
    const got = receiveMessages(fd, nameFrames.headers, nameFrames.shape.count);
    if (got <= 0) return;
    const queries: NameQuery[] = [];
    for (let index = 0; index < got; index += 1) {
      totals.nameQueries += 1;
      const at = index * nameFrames.shape.dataBytes;
      const frame = parseNameFrame(nameFrames.data.slice(at, at + nameFrames.length(index)));
      if (!frame) totals.nameQueriesMalformed += 1;
      else if (queriesInHand + queries.length >= queryCredit || !nameBudget.take()) totals.nameQueriesDropped += 1;
      else queries.push({ at: systemClock(), fd, frame });
    }
    queriesInHand += queries.length;
    if (queries.length > 0) post({ type: 'name-queries', network: networkOf(one.socket), queries });
  }
}

function watch(socket: NamedSocket): Watched | undefined {
  const { fd } = socket;
  if (socket.role === 'udp') {
    const reader = new UdpReader(fd, datagramBuffers);
    const one: Watched = { socket, reader, readiness: new Readiness(fd, { readable: true }, () => readDatagrams(one, reader)) };
    return one;
  }
  if (socket.role === 'nflog') {
    const reader = new NflogReader(fd, logBuffer);
    const one: Watched = { socket, reader, readiness: new Readiness(fd, { readable: true }, () => readProbes(one, reader)) };
    return one;
  }
  if (socket.role === 'names') {
    const one: Watched = { socket, readiness: new Readiness(fd, { readable: true }, () => readNameQueries(one)) };
    return one;
  }
  if (socket.role !== 'neighbour') return undefined;
  const name = socket.interface ?? '';
  const { directory, interfaces } = residents(socket);
  const keeper = new NeighbourKeeper({
    network: networkOf(socket),
    interface: name,
    mac: macBytes(socket.mac ?? '00:00:00:00:00:00'),
    directory,
    ...(interfaces[name] ? { diversions: interfaces[name] } : {}),
    clock: systemClock,
    send: (frame) => sendTo(fd, frame, null) >= 0,
    onConflict: (conflict) => post({ type: 'conflict', conflict }),
  });
  const one: Watched = { socket, keeper, readiness: new Readiness(fd, { readable: true }, () => readFrames(one, keeper)) };
  return one;
}

function release(one: Watched): void {
  one.readiness.close();
  const drops = readSocketDrops(one.socket.fd);
  if (one.reader instanceof UdpReader) {
    totals.datagramsMalformed += one.reader.malformed;
    totals.datagramsLost += drops;
  } else if (one.reader) totals.probesLost += one.reader.lost;
  if (one.socket.role === 'names') totals.nameQueriesLost += drops;
  if (one.keeper) {
    totals.neighboursLost += drops;
    for (const key of Object.keys(endedNeighbours) as (keyof typeof endedNeighbours)[])
      endedNeighbours[key] += one.keeper.counters[key];
  }
}

function setSockets(sockets: readonly NamedSocket[]): void {
  const wanted = new Set(sockets.map(({ fd }) => fd));
  const released: number[] = [];
  for (const [fd, one] of watched) {
    if (wanted.has(fd)) continue;
    watched.delete(fd);
    release(one);
    released.push(fd);
  }
  for (const socket of sockets) {
    if (watched.has(socket.fd)) continue;
    const one = watch(socket);
    if (one) watched.set(socket.fd, one);
  }
  if (released.length > 0) post({ type: 'released', fds: released });
}

function counters(): PacketCounters {
  const all = { ...totals };
  const neighbours = { ...endedNeighbours };
  for (const { socket, reader, keeper } of watched.values()) {
    if (reader instanceof UdpReader) {
      all.datagramsMalformed += reader.malformed;
      all.datagramsLost += readSocketDrops(socket.fd);
    } else if (reader) all.probesLost += reader.lost;
    if (socket.role === 'names') all.nameQueriesLost += readSocketDrops(socket.fd);
    if (keeper) {
      all.neighboursLost += readSocketDrops(socket.fd);
      for (const key of Object.keys(neighbours) as (keyof typeof neighbours)[]) neighbours[key] += keeper.counters[key];
    }
  }
  return { ...all, probes: { ...tracker.counters }, neighbours };
}

let ticks = 0;
const timer = setInterval(() => {
  ticks += 1;
  takeAccepts();
  sweeps.tick([...watched.values()].flatMap(({ keeper }) => keeper ?? []));
  let announcements = announcementsPerTick;
  for (const { keeper } of watched.values()) {
    if (keeper?.waiting) keeper.tick();
    if (keeper?.announcing) announcements -= keeper.announce(announcements);
  }
  if (ticks % 4 === 0) {
    tracker.tick();
    postRecords();
  }
  if (ticks % 20 === 0) post({ type: 'counters', counters: counters() });
}, tickMs);

port.on('message', (message: ToPacketWorker) => {
  switch (message.type) {
    case 'credit':
      recordsInHand -= message.records;
      queriesInHand -= message.queries;
      datagramBytesInHand -= message.datagramBytes;
      if (message.datagramBytes > 0 && datagramBytesInHand < datagramCredit / 2)
        for (const { socket, readiness } of watched.values()) if (socket.role === 'udp') readiness.resume();
      break;
    case 'sockets':
      setSockets(message.sockets);
      break;
    case 'networks':
      networks = byName(message.networks);
      sweeps.setRate(message.sweepRate);
      for (const { socket, keeper } of watched.values()) {
        const { directory, interfaces } = residents(socket);
        keeper?.setDirectory(directory, interfaces[socket.interface ?? '']);
      }
      break;
    case 'report':
      post({ type: 'counters', counters: counters() });
      break;
    case 'stop':
      clearInterval(timer);
      for (const one of watched.values()) if (one.reader instanceof NflogReader) readProbes(one, one.reader);
      takeAccepts();
      tracker.flush();
      postRecords();
      post({ type: 'counters', counters: counters() });
      setSockets([]);
      post({ type: 'stopped' });
      port.close();
  }
});

setSockets(data.sockets);
