// Attackers, a gateway's machine and services in namespaces, with the services network of a relayed service that is dialled
// with both ends spoofed; the relay itself runs in the test's process, over sockets made in the machine's namespace and handed
// over as netd and gateway do it. For tests of src/relay with a kernel.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getuid } from 'node:process';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { MemorySink } from '../../src/honeypot/memory-sink.ts';
import { HandoverClient } from '../../src/kernel/handover-client.ts';
import { HandoverServer } from '../../src/kernel/handover-server.ts';
import {
  AF_INET,
  AF_INET6,
  bindSocket,
  insideNetns,
  listenSocket,
  openSocket,
  SOCK_STREAM,
  setSocketOption,
} from '../../src/kernel/libc.ts';
import { renderSocketAddress } from '../../src/kernel/socket-address.ts';
import { SocketPoller } from '../../src/kernel/socket-poller.ts';
import { type Address, parseAddress } from '../../src/model/address.ts';
import type { RelayedService } from '../../src/model/relayed-service.ts';
import { openWantedSockets, readAppliedDials } from '../../src/plan/applied-dials.ts';
import type { DesiredState } from '../../src/plan/desired-state.ts';
import { ServicesController } from '../../src/plan/services-controller.ts';
import { Dialer } from '../../src/relay/dialer.ts';
import { HandoverPool } from '../../src/relay/handover-pool.ts';
import { homeNetwork } from '../../src/relay/network.ts';
import { Relay } from '../../src/relay/relay.ts';
import { TcpIntake } from '../../src/relay/tcp-intake.ts';
import { decoyDirectory, decoyGroup } from './decoy-segment.ts';
import { state } from './golden-states.ts';
import { type NamespaceLab, type TestNamespace, until } from './namespace.ts';

export interface DialBed {
  readonly attacker: TestNamespace;
  readonly home: TestNamespace;
  readonly service: TestNamespace;
  readonly controller: ServicesController;
  readonly desired: DesiredState;
  readonly sink: MemorySink;
  readonly relay: Relay;
  readonly dialer: Dialer;
  readonly poller: SocketPoller;
  readonly pool: HandoverPool;
  readonly server: HandoverServer;
  /** By the family of its address. */
  readonly services: Readonly<Record<4 | 6, RelayedService>>;
  /** Visits to this port of every decoy go to the service of the family. */
  listen(port: number): void;
  close(): Promise<void>;
}

const address = (text: string): Address => parseAddress(text) as Address;

/** Dialled as the attacker; next hop 10.60.0.9 or fd60::9 on wire0. */
export function transparentService(name: string, ip: string, from: string, prefixLength: number): RelayedService {
  return {
    kind: 'external',
    name,
    path: 'transparent',
    address: address(ip),
    wire: { interface: 'wire0', from: { address: address(from), prefixLength } },
    place: { file: 'weir.yaml', line: 1 },
  };
}

let made = 0;

/** Decoys: 10.70.0.64/26 and fd70::40/122. The attacker is 10.70.0.1 and fd70::1. */
export async function layDialBed(lab: NamespaceLab): Promise<DialBed> {
  const [attacker, home, service] = [await lab.namespace('a'), await lab.namespace('h'), await lab.namespace('v')];
  await lab.join(
    { namespace: attacker, link: 'eth0', addresses: ['10.70.0.1/24', 'fd70::1/64'] },
    { namespace: home, link: 'eth0', addresses: ['10.70.0.2/24', 'fd70::2/64'] },
  );
  await lab.join(
    { namespace: home, link: 'wire0' },
    { namespace: service, link: 'eth0', addresses: ['10.60.0.9/24', 'fd60::9/64'] },
  );
  const owned = 'route add local 10.70.0.64/26 dev lo\nroute add local fd70::40/122 dev lo\n';
  await home.ip(owned);
  await attacker.ip('route add fd70::40/122 via fd70::2\nroute add 10.70.0.64/26 via 10.70.0.2\n');
  await service.ip(`${owned}route add default via 10.60.0.1\nroute add default via fd60::1\n`);
  // Binding to an address that is only routed here; IPv4 needs no word for it.
  await service.setSysctl('net/ipv6/ip_nonlocal_bind', '1');
  made += 1;
  const controller = new ServicesController({
    tag: `${process.pid.toString(16).slice(-2)}${made.toString(16).slice(-1)}d`,
    log: silentLog,
    netns: home.path,
  });
  const services = {
    4: transparentService('real4', '10.60.0.9', '10.60.0.1', 24),
    6: transparentService('real6', 'fd60::9', 'fd60::1', 64),
  };
  const desired = { ...state([]), relay: { services: [services[4], services[6]] } } as unknown as DesiredState;
  await controller.apply(desired);
  const directory = mkdtempSync(join(tmpdir(), 'weir-dial-'));
  const path = join(directory, 'handover.sock');
  const dials = readAppliedDials(controller.network?.dials ?? [], controller.path);
  const server = new HandoverServer({
    path,
    ownerUid: getuid?.() ?? 0,
    log: silentLog,
    onWanted: (wanted) => openWantedSockets(wanted, dials, controller.path),
  });
  const pool = new HandoverPool({ want: (wanted) => client.want(wanted) });
  const client: HandoverClient = new HandoverClient({
    path,
    log: silentLog,
    retryMs: 5,
    onOffer: () => {},
    onSockets: (list, fds) => pool.receive(list, fds),
    onConnected: (there) => pool.connected(there),
  });
  pool.setServices(dials);
  const poller = new SocketPoller();
  const dialer = new Dialer({ poller, pool, timeoutMs: 4000 });
  const sink = new MemorySink();
  const limits = {
    sessions: 2000,
    sessionsPerSource: 2000,
    sessionBytes: 1 << 20,
    idleTimeoutMs: 60_000,
    totalTimeoutMs: 300_000,
  };
  const relay = new Relay({ sink, limits, dialer, poller, log: silentLog, clock: systemClock });
  const intake = new TcpIntake({
    networks: homeNetwork(decoyDirectory([decoyGroup(['10.70.0.64/26', 'fd70::40/122'], { kind: 'own' })])),
    log: silentLog,
    onConnection: (connection) => relay.visit(connection, services[connection.destination.ip.includes(':') ? 6 : 4]),
  });
  await until('the pool is filled', () => pool.counters().ready >= 1000);
  return {
    attacker,
    home,
    service,
    controller,
    desired,
    sink,
    relay,
    dialer,
    poller,
    pool,
    server,
    services,
    listen: (port) => {
      for (const [domain, any] of [
        [AF_INET, '0.0.0.0'],
        [AF_INET6, '::'],
      ] as const) {
        const fd = insideNetns(home.path, () => openSocket(domain, SOCK_STREAM, 0));
        // IPV6_V6ONLY, so that both families may listen.
        if (domain === AF_INET6) setSocketOption(fd, 41, 26, 1);
        bindSocket(fd, renderSocketAddress(address(any), port));
        listenSocket(fd, 4096);
        intake.add({ fd });
      }
    },
    close: async () => {
      intake.close();
      relay.close();
      dialer.close();
      client.close();
      server.close();
      pool.close();
      poller.close();
      await controller.apply(undefined);
      await controller.close();
      rmSync(directory, { recursive: true });
    },
  };
}
