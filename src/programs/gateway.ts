// The gateway program: everything that touches attacker bytes. Runs as uid weir with CAP_NET_RAW alone. Joins what
// arrives (relay/) with what answers (honeypot/) and what records (record/); decides nothing of its own.

import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ControlServer, callControl } from '../api/control.ts';
import { systemClock } from '../base/clock.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import { Lifetime } from '../base/lifetime.ts';
import { openLog } from '../base/log.ts';
import { CatchAll } from '../honeypot/catch-all.ts';
import { openCertificateMint } from '../honeypot/certificate-mint.ts';
import { probeLiveHosts } from '../kernel/arp-prober.ts';
import { HandoverClient } from '../kernel/handover-client.ts';
import { type AddressRange, parseRange, renderRange } from '../model/address.ts';
import { DecoyDirectory } from '../model/decoy.ts';
import { JournalWriter } from '../record/journal-writer.ts';
import { SessionRecorder } from '../record/session-recorder.ts';
import { Intake } from '../relay/intake.ts';
import { KernelPathIntake } from '../relay/kernel-path-intake.ts';
import type { IntakeNetwork } from '../relay/network.ts';
import { watchLifeline } from './child.ts';
import { ConflictReports } from './conflict-reports.ts';
import type { GatewayOffer } from './gateway-offer.ts';

const { values } = parseArgs({ options: { data: { type: 'string' } } });
const data = values.data ?? '';
const log = openLog('gateway');
const lifetime = new Lifetime(log);
const run = (name: string): string => join(data, 'run', name);

/** Ends at once with everything so far on disk. */
let leave = async (): Promise<void> => {};

async function main(): Promise<void> {
  const journal = lifetime.own(
    'journal',
    new JournalWriter({ directory: join(data, 'journal/gateway'), clock: systemClock, log }),
  );
  leave = async () => {
    house?.recorder.flush();
    await journal.close();
  };
  const reports = new ConflictReports({
    log,
    send: ({ network, ip, mac, interface: link }) =>
      callControl(run('report.sock'), 'conflict', { network, address: ip, mac, interface: link }, 30_000),
  });
  const certificates = await openCertificateMint(join(data, 'tls'), log);
  let ready: () => void = () => {};
  const isReady = new Promise<void>((resolve) => {
    ready = resolve;
  });
  /** Exists from the first offer on: only then are the bounds known. */
  let house: { recorder: SessionRecorder; catchAll: CatchAll; intake: Intake; kernelPath: KernelPathIntake } | undefined;

  function furnish(offer: GatewayOffer, networks: readonly IntakeNetwork[]): typeof house {
    const recorder = lifetime.own('sessions', new SessionRecorder({ journal, limits: offer.limits, clock: systemClock }));
    const catchAll = lifetime.own(
      'catch-all',
      new CatchAll({ sink: recorder, limits: offer.limits, certificates, log, clock: systemClock }),
    );
    const intake = new Intake({
      networks,
      log,
      onConnection: (connection) => catchAll.visit(connection),
      onDatagram: (datagram) => catchAll.datagram(datagram),
      onProbe: (probe) => journal.append({ kind: 'probe', probe }),
      sweepRate: offer.claimRate,
      onConflict: (conflict) => reports.add(conflict),
      onExhausted: (wanted) => void catchAll.shedOldestIdle(wanted),
    });
    lifetime.own('intake', intake);
    const kernelPath = lifetime.own(
      'kernel path',
      new KernelPathIntake({
        sink: recorder,
        networks,
        ports: offer.kernelPath,
        limits: offer.limits,
        log,
        onProbe: (probe) => journal.append({ kind: 'probe', probe }),
      }),
    );
    return { recorder, catchAll, intake, kernelPath };
  }

  const client = new HandoverClient({
    path: run('handover.sock'),
    log,
    onOffer: ({ sockets, description }) => {
      const offer = description as GatewayOffer;
      const personas = new Map(offer.personas.map((persona) => [persona.name, persona]));
      const networks = offer.networks.map(({ name, groups, withheld, interfaces, subnets, agent }) => ({
        name,
        directory: new DecoyDirectory(groups, personas, withheld),
        interfaces,
        subnets,
        ...(agent === undefined ? {} : { agent }),
        nameless: offer.kernelPath
          .filter(({ network }) => network === name)
          .flatMap(({ bindings }) => bindings.flatMap(({ ranges }) => ranges)),
      }));
      if (house) {
        house.intake.setNetworks(networks, offer.claimRate);
        house.kernelPath.setNetworks(networks, offer.kernelPath);
      } else house = furnish(offer, networks);
      house?.intake.setSockets(sockets);
      house?.kernelPath.setSockets(sockets);
      ready();
    },
  });
  lifetime.own('handover', client);

  const control = new ControlServer({
    path: run('gateway.sock'),
    mode: 0o600,
    log,
    verbs: {
      ready: async () => {
        await isReady;
        return true;
      },
      status: async () => ({
        intake: await house?.intake.report(),
        kernelPath: await house?.kernelPath.report(),
        catchAll: house?.catchAll.counters(),
        sessions: house?.recorder.counters(),
        journal: journal.counters(),
        conflicts: reports.counters,
      }),
      probe: async (args) => {
        const { link, ranges, rate } = probeArguments(args);
        const found = await probeLiveHosts({ interface: link, ranges, ratePerSecond: rate });
        return found.live.map(renderRange);
      },
    },
  });
  await control.listen();
  lifetime.own('control', control);
  await isReady;
  log.info('ready', { pid: process.pid });
}

function probeArguments(args: unknown): { link: string; ranges: AddressRange[]; rate: number } {
  const { link, ranges, rate } = (args ?? {}) as { link?: unknown; ranges?: unknown; rate?: unknown };
  if (typeof link !== 'string' || !Array.isArray(ranges) || typeof rate !== 'number')
    throw new WeirError('bad-request', 'probe needs {link, ranges, rate}');
  return {
    link,
    rate,
    ranges: ranges.map((text) => {
      const range = typeof text === 'string' ? parseRange(text) : undefined;
      if (!range) throw new WeirError('bad-request', `not an address range: ${String(text).slice(0, 64)}`);
      return range;
    }),
  };
}

async function end(reason: string): Promise<void> {
  if (lifetime.ending) return;
  log.info('ending', { reason });
  await lifetime.end();
  process.exit(0);
}

process.on('SIGTERM', () => void end('SIGTERM'));
process.on('SIGINT', () => {});
process.on('SIGHUP', () => {});
watchLifeline(() => {
  if (lifetime.ending) return;
  // A successor waits for the journal: what is open is on record up to now and marked interrupted by the recorder.
  log.error('the supervisor died, making room for another');
  leave().finally(() => process.exit(0));
});
main().catch((error) => {
  // A start that was cut short fails somewhere; whoever cut it decides how this ends.
  if (lifetime.ending) return;
  const { code, message } = asWeirError(error);
  log.error(message, { code });
  process.exit(1);
});
