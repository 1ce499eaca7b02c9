// One hop of the chain that `weir bench relay` measures, as a program of its own inside a namespace: `edge` listens for
// attackers, records and dials the next with a PROXY header; `inner` takes that and dials the service as the attacker.
// Prints `up` when it is ready, and ends with its standard input.

import { parseArgs } from 'node:util';
import { systemClock } from '../../base/clock.ts';
import { openLog } from '../../base/log.ts';
import { HandoverClient } from '../../kernel/handover-client.ts';
import {
  AF_INET,
  bindSocket,
  listenSocket,
  openSocket,
  SO_REUSEADDR,
  SOCK_STREAM,
  SOL_SOCKET,
  setSocketOption,
} from '../../kernel/libc.ts';
import { renderSocketAddress } from '../../kernel/socket-address.ts';
import { SocketPoller } from '../../kernel/socket-poller.ts';
import { type Address, type AddressRange, parseAddress, parseRange } from '../../model/address.ts';
import { DecoyDirectory } from '../../model/decoy.ts';
import type { Persona } from '../../model/persona.ts';
import { allPorts } from '../../model/port-set.ts';
import type { RelayedService } from '../../model/relayed-service.ts';
import { JournalWriter } from '../../record/journal-writer.ts';
import { SessionRecorder } from '../../record/session-recorder.ts';
import { noDialPool } from '../../relay/dial-pool.ts';
import { Dialer } from '../../relay/dialer.ts';
import { type DialOffer, HandoverPool } from '../../relay/handover-pool.ts';
import { homeNetwork } from '../../relay/network.ts';
import { ProxyDoor } from '../../relay/proxy-door.ts';
import { Relay } from '../../relay/relay.ts';
import { TcpIntake } from '../../relay/tcp-intake.ts';

const SO_REUSEPORT = 15;
const SOL_TCP = 6;
const TCP_NODELAY = 1;

const { values } = parseArgs({
  options: {
    role: { type: 'string' },
    /** `ADDRESS:PORT,…` */
    listen: { type: 'string' },
    /** Of `edge`. */
    next: { type: 'string' },
    journal: { type: 'string' },
    /** Of `inner`. */
    allow: { type: 'string' },
    handover: { type: 'string' },
    offer: { type: 'string' },
    service: { type: 'string' },
  },
});

interface At {
  readonly address: Address;
  readonly port: number;
}

function placeOf(text: string): At {
  const [ip, port] = text.split(':');
  const address = parseAddress(ip);
  if (!address) throw new Error(`not an address: ${ip}`);
  return { address, port: Number(port) };
}

const log = openLog('bench-relay', 'warn');
const place = { file: 'bench', line: 1 };
const listens = (values.listen ?? '').split(',').map(placeOf);
const limits = {
  sessions: 20_000,
  sessionsPerSource: 20_000,
  sessionBytes: 1 << 20,
  idleTimeoutMs: 600_000,
  totalTimeoutMs: 3_600_000,
};
const poller = new SocketPoller();
const persona: Persona = {
  name: 'open',
  description: '',
  macPrefixes: [],
  tcp: { open: allPorts, otherwise: 'closed' },
  udp: { open: allPorts, otherwise: 'closed' },
  answersEcho: true,
  ttl: 64,
  services: {},
  banners: {},
  hostname: 'bench',
  operatingSystem: '',
};

/** Several processes may listen at one place. */
function listenAt({ address, port }: At): number {
  const fd = openSocket(AF_INET, SOCK_STREAM, 0);
  setSocketOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  setSocketOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  setSocketOption(fd, SOL_TCP, TCP_NODELAY, 1);
  bindSocket(fd, renderSocketAddress(address, port));
  listenSocket(fd, 65_535);
  return fd;
}

function runEdge(): void {
  const next = placeOf(values.next ?? '');
  const dialer = new Dialer({ poller, pool: noDialPool });
  dialer.setInnerGateways([{ name: 'inner', ...next, place }]);
  const journal = new JournalWriter({ directory: values.journal ?? '', clock: systemClock, log });
  const sink = new SessionRecorder({ journal, limits, clock: systemClock });
  const relay = new Relay({ sink, limits, dialer, poller, log, clock: systemClock });
  const service: RelayedService = {
    kind: 'external',
    name: 'real',
    path: 'transparent',
    address: next.address,
    via: 'inner',
    place,
  };
  const ranges = listens.map(({ address }) => ({ family: 4 as const, first: address.value, last: address.value }));
  const population = { seed: 1, shares: [{ persona: persona.name, share: 10_000 }] };
  const group = { diversion: 'bench', kind: 'own' as const, ranges, population, macs: {}, place };
  const intake = new TcpIntake({
    networks: homeNetwork(new DecoyDirectory([group], new Map([[persona.name, persona]]))),
    log,
    onConnection: (connection) => relay.visit(connection, service),
    onExhausted: (wanted) => void relay.shedOldestIdle(wanted),
  });
  for (const one of listens) intake.add({ fd: listenAt(one) });
  process.stdout.write('up\n');
}

function runInner(): void {
  const offer = JSON.parse(values.offer ?? '{}') as DialOffer;
  const pool = new HandoverPool({ want: (wanted) => client.want(wanted) });
  let told = false;
  const client: HandoverClient = new HandoverClient({
    path: values.handover ?? '',
    log,
    onOffer: () => {},
    onSockets: (made, fds) => {
      pool.receive(made, fds);
      if (!told) process.stdout.write('up\n');
      told = true;
    },
    onConnected: (there) => pool.connected(there),
  });
  pool.setServices([offer]);
  const dialer = new Dialer({ poller, pool });
  const sink = {
    open: () => {
      throw new Error('an inner hop records nothing');
    },
  };
  const relay = new Relay({ sink, limits, dialer, poller, log, clock: systemClock });
  const service: RelayedService = {
    kind: 'external',
    name: offer.service,
    path: 'transparent',
    address: placeOf(`${values.service}:0`).address,
    place,
  };
  const door = new ProxyDoor({
    poller,
    log,
    onConnection: (arrival) => relay.visit(arrival, service),
    onDatagram: () => {},
    onExhausted: (wanted) => void relay.shedOldestIdle(wanted),
  });
  const [at] = listens;
  door.setListening(
    [{ name: 'bench', role: 'proxy', fd: listenAt(at), transport: 'tcp', diversion: 'bench' }],
    [
      {
        persona,
        diversion: {
          kind: 'proxy',
          name: 'bench',
          listen: at,
          allow: [parseRange(values.allow ?? '') as AddressRange],
          persona: persona.name,
          inner: true,
          place,
        },
      },
    ],
  );
}

process.stdin.on('end', () => process.exit(0)).resume();
if (values.role === 'edge') runEdge();
else runInner();
