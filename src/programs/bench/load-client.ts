// A bounded TCP client for benchmarks: connect, send, half-close, read to the end, over and over with a fixed number in
// flight, from one thread without an event loop, so that the server is what is measured. Runs as a program of its own
// inside a namespace: prints one JSON line at its end. Targets are the addresses the benchmark made.

import { parseArgs } from 'node:util';
import {
  AF_INET,
  AF_INET6,
  closeDescriptor,
  connectSocket,
  EAGAIN,
  openSocket,
  receive,
  resetConnection,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  sendTo,
  shutdownWriting,
} from '../../kernel/libc.ts';
import { renderSocketAddress } from '../../kernel/socket-address.ts';
import { parseAddress } from '../../model/address.ts';

/** errno numbers of Linux that a connect or send in progress gives. */
const EINPROGRESS = 115;
const ENOTCONN = 107;
/** A connection without an end after this long is given up and counted. */
const stuckMs = 5000;

interface Flight {
  fd: number;
  started: number;
  sent: boolean;
}

export interface LoadResult {
  readonly completed: number;
  readonly failed: number;
  readonly seconds: number;
  /** Microseconds from connect() to the server's end, over a sample of at most 10,000. */
  readonly p50: number;
  readonly p99: number;
  /** Processor time of this process, user and system, in seconds: what interrupts take on its account is in it. */
  readonly cpuSeconds: number;
}

export interface LoadOptions {
  /** First target address; `addresses` are used in turn, each `stride` (1) after the one before. */
  readonly target: string;
  readonly addresses: number;
  readonly stride?: number;
  readonly port: number;
  readonly seconds: number;
  readonly inFlight: number;
  readonly payload: Uint8Array;
}

/** Closed loop: never more than `inFlight` connections, ends after `seconds`. */
export function runLoad(options: LoadOptions): LoadResult {
  const first = parseAddress(options.target);
  if (!first) throw new Error(`not an address: ${options.target}`);
  const domain = first.family === 4 ? AF_INET : AF_INET6;
  const addresses = Array.from({ length: options.addresses }, (_, index) =>
    renderSocketAddress({ family: first.family, value: first.value + BigInt(index * (options.stride ?? 1)) }, options.port),
  );
  const flights: (Flight | undefined)[] = new Array(options.inFlight).fill(undefined);
  const buffer = new Uint8Array(65536);
  const sample: number[] = [];
  const idle = new Int32Array(new SharedArrayBuffer(4));
  let next = 0;
  let completed = 0;
  let failed = 0;
  const used = process.cpuUsage();
  const begin = performance.now();
  const end = begin + options.seconds * 1000;
  let open = 0;
  for (;;) {
    const now = performance.now();
    if (now >= end && open === 0) break;
    let progressed = false;
    for (let slot = 0; slot < flights.length; slot += 1) {
      let flight = flights[slot];
      if (!flight) {
        if (now >= end) continue;
        const fd = openSocket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        const outcome = connectSocket(fd, addresses[next]);
        next = (next + 1) % addresses.length;
        if (outcome < 0 && outcome !== -EINPROGRESS) {
          closeDescriptor(fd);
          failed += 1;
          continue;
        }
        flight = { fd, started: performance.now(), sent: false };
        flights[slot] = flight;
        open += 1;
      }
      if (!flight.sent) {
        const sent = sendTo(flight.fd, options.payload, null);
        if (sent >= 0) {
          flight.sent = true;
          shutdownWriting(flight.fd);
          progressed = true;
          continue;
        }
        if (sent !== -EAGAIN && sent !== -ENOTCONN && sent !== -EINPROGRESS) {
          resetConnection(flight.fd);
          flights[slot] = undefined;
          open -= 1;
          failed += 1;
          continue;
        }
      } else {
        const got = receive(flight.fd, buffer);
        if (got <= 0 && got !== -EAGAIN) {
          progressed = true;
          resetConnection(flight.fd);
          flights[slot] = undefined;
          open -= 1;
          if (got === 0) {
            completed += 1;
            if (sample.length < 10_000) sample.push((performance.now() - flight.started) * 1000);
          } else failed += 1;
          continue;
        }
      }
      if (now - flight.started > stuckMs) {
        resetConnection(flight.fd);
        flights[slot] = undefined;
        open -= 1;
        failed += 1;
      }
    }
    if (!progressed) Atomics.wait(idle, 0, 0, 0.05);
  }
  sample.sort((a, b) => a - b);
  const at = (share: number): number => Math.round(sample[Math.min(sample.length - 1, Math.floor(sample.length * share))] ?? 0);
  const { user, system } = process.cpuUsage(used);
  return {
    completed,
    failed,
    seconds: (performance.now() - begin) / 1000,
    p50: at(0.5),
    p99: at(0.99),
    cpuSeconds: (user + system) / 1e6,
  };
}

if (process.argv[1]?.endsWith('load-client.js')) {
  const { values } = parseArgs({
    options: {
      target: { type: 'string' },
      addresses: { type: 'string', default: '1' },
      port: { type: 'string' },
      seconds: { type: 'string', default: '5' },
      'in-flight': { type: 'string', default: '64' },
      payload: { type: 'string', default: '120' },
      request: { type: 'string' },
      stride: { type: 'string', default: '1' },
    },
  });
  const result = runLoad({
    target: values.target ?? '',
    addresses: Number(values.addresses),
    stride: Number(values.stride),
    port: Number(values.port),
    seconds: Number(values.seconds),
    inFlight: Number(values['in-flight']),
    payload: values.request === undefined ? new Uint8Array(Number(values.payload)).fill(0x2e) : Buffer.from(values.request),
  });
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
