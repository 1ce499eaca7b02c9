// The gateway program: everything that touches attacker bytes. Runs as uid weir with CAP_NET_RAW alone. Its parts are
// gateway-house.ts and gateway-agents.ts; here they meet netd's offers, the control socket and the end of the process.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ControlServer, type ControlVerb, callControl } from '../api/control.ts';
import { systemClock } from '../base/clock.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import { Lifetime } from '../base/lifetime.ts';
import { openLog } from '../base/log.ts';
import { openCertificateMint } from '../honeypot/certificate-mint.ts';
import { HandoverClient } from '../kernel/handover-client.ts';
import { JournalWriter } from '../record/journal-writer.ts';
import { spoolWriter } from '../record/spool-batch.ts';
import { HandoverPool } from '../relay/handover-pool.ts';
import type { Arrivals } from './arrivals.ts';
import { ConflictReports } from './conflict-reports.ts';
import { type GatewayAgents, openGatewayAgents } from './gateway-agents.ts';
import { GatewayHouse } from './gateway-house.ts';
import type { GatewayOffer } from './gateway-offer.ts';
import { ownInstallation } from './installation.ts';
import { answerProbe } from './probe-verb.ts';
import { liveUntilTold } from './program-life.ts';

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
  const spool = lifetime.own(
    'journal of agents',
    new JournalWriter({ directory: join(data, 'journal', spoolWriter), clock: systemClock, log }),
  );
  leave = async () => {
    house?.recorder.flush();
    await Promise.all([journal.close(), spool.close()]);
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
  let house: GatewayHouse | undefined;
  const agents = await openAgents(spool, () => house?.arrivals);

  const pool = lifetime.own('dial pool', new HandoverPool({ want: (wanted) => client.want(wanted) }));
  const client = new HandoverClient({
    path: run('handover.sock'),
    log,
    onSockets: (made, fds) => pool.receive(made, fds),
    onConnected: (connected) => pool.connected(connected),
    onOffer: ({ sockets, description }) => {
      const offer = description as GatewayOffer;
      if (!house) {
        house = new GatewayHouse(offer, {
          journal,
          certificates,
          lifetime,
          log,
          pool,
          onConflict: (conflict) => reports.add(conflict),
        });
        // Closed before the house: links say goodbye while their flows still have somebody to record them.
        if ('take' in agents) lifetime.own('agents', agents);
      }
      house.take(offer, sockets);
      if ('take' in agents) agents.take(offer, sockets);
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
        ...(await house?.report()),
        ...('take' in agents
          ? { links: agents.counters(), agents: agents.report() }
          : { agents: { agents: [], reasons: [agents.why] } }),
        journal: journal.counters(),
        conflicts: reports.counters,
      }),
      probe: answerProbe,
      ...agents.verbs,
    },
  });
  await control.listen();
  lifetime.own('control', control);
  await isReady;
  log.info('ready', { pid: process.pid });
}

/** Without identities no agent is let in, and everything else goes on. */
async function openAgents(journal: JournalWriter, arrivals: () => Arrivals | undefined): Promise<GatewayAgents | NoAgents> {
  try {
    const { version } = JSON.parse(readFileSync(join(ownInstallation().root, 'package.json'), 'utf8')) as { version: string };
    return await openGatewayAgents({
      directory: join(data, 'agents'),
      version,
      journal,
      onConnection: (arrival) => arrivals()?.connection(arrival),
      onDatagram: (arrived) => arrivals()?.datagram(arrived),
      clock: systemClock,
      log,
    });
  } catch (error) {
    const { code, message, details } = asWeirError(error);
    log.error('no agent is let in', { code, error: message });
    const refuse = (): never => {
      throw new WeirError(code, message, details);
    };
    const names = ['agents', 'agents-add', 'agents-remove', 'agents-touch', 'agents-upgrade'];
    return { why: `no agent is let in: ${message}`, verbs: Object.fromEntries(names.map((name) => [name, refuse])) };
  }
}

interface NoAgents {
  readonly why: string;
  readonly verbs: Readonly<Record<string, ControlVerb>>;
}

liveUntilTold({
  main,
  lifetime,
  log,
  onLost: () => {
    // A successor waits for the journal: what is open is on record up to now and marked interrupted by the recorder.
    log.error('the supervisor died, making room for another');
    leave().finally(() => process.exit(0));
  },
});
