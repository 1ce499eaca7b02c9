// The netd program: desired state -> kernel, and the sockets for the gateway. The only program that keeps root; it reads
// our own configuration, its control socket and what the gateway reports of live hosts, never a packet.

import { spawn } from 'node:child_process';
import { chown } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ControlServer, callControl } from '../api/control.ts';
import { renderMicros, systemClock } from '../base/clock.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import { Lifetime } from '../base/lifetime.ts';
import { openLog } from '../base/log.ts';
import { readConfiguration } from '../config/configuration.ts';
import { readPersonas } from '../config/personas.ts';
import { HandoverServer } from '../kernel/handover-server.ts';
import { closeDescriptor } from '../kernel/libc.ts';
import { type AddressRange, parseRange, renderRange } from '../model/address.ts';
import type { Configuration } from '../model/configuration.ts';
import type { AlertRecord } from '../model/event.ts';
import { createIdentifier } from '../model/identifier.ts';
import type { Annex } from '../plan/annex.ts';
import { type AppliedDial, openWantedSockets, readAppliedDials } from '../plan/applied-dials.ts';
import { DiversionController, type Plan } from '../plan/controller.ts';
import { segmentTag } from '../plan/desired-segment.ts';
import { DoorsController, isDoorSocket } from '../plan/doors-controller.ts';
import { FabricController } from '../plan/fabric-controller.ts';
import { IdsController, ownRuleDirectory } from '../plan/ids-controller.ts';
import { Reconciler } from '../plan/reconciler.ts';
import { describePlan, renderPlan } from '../plan/render-plan.ts';
import { captureGroup } from '../plan/services-capture.ts';
import { ServicesController } from '../plan/services-controller.ts';
import { JournalWriter } from '../record/journal-writer.ts';
import type { GatewayOffer } from './gateway-offer.ts';
import { IdsKeeper } from './ids-keeper.ts';
import { ownInstallation } from './installation.ts';
import { IntakeDoor } from './intake-door.ts';
import { describeOffer, doorNetworks } from './netd-offer.ts';
import { diversionStatus, relayedDiversions, repairStatus } from './netd-status.ts';
import { preflightOf } from './preflight.ts';
import { liveUntilTold } from './program-life.ts';
import type { PlanAnswer } from './up.ts';

/** A gateway that outlived the last netd has this long to give the sockets back. */
const returnMs = 10_000;

const { values } = parseArgs({
  options: {
    data: { type: 'string' },
    uid: { type: 'string' },
    config: { type: 'string' },
    operator: { type: 'string' },
    successor: { type: 'string' },
  },
});
const data = values.data ?? '';
const uid = Number(values.uid);
const log = openLog('netd');
const lifetime = new Lifetime(log);
const run = (name: string): string => join(data, 'run', name);

async function main(): Promise<void> {
  const journal = lifetime.own('journal', new JournalWriter({ directory: join(data, 'journal/netd'), clock: systemClock, log }));
  const system = (name: string, message: string, details: Record<string, unknown>): void => {
    const at = systemClock();
    journal.append({ kind: 'system', system: { id: createIdentifier(at), at, name, program: 'netd', message, details } });
  };
  const alert = (name: string, severity: AlertRecord['severity'], message: string, details: Record<string, unknown>): void => {
    const at = systemClock();
    journal.append({ kind: 'alert', alert: { id: createIdentifier(at), at, name, severity, message, details } });
  };

  const tag = segmentTag(data);
  const services = new ServicesController({ tag, log });
  const dials = (): AppliedDial[] => readAppliedDials(services.network?.dials ?? [], services.path);
  const handover = lifetime.own(
    'handover',
    new HandoverServer({
      path: run('handover.sock'),
      ownerUid: uid,
      log,
      onReturn: (sockets) => {
        for (const { fd } of sockets) closeDescriptor(fd);
      },
      onWanted: (wanted) => openWantedSockets(wanted, dials(), services.path),
    }),
  );
  // It may have given them back while we asked; without them its hold on the NFLOG group would keep us from opening our own.
  const returned = await handover.returned((await gatewayLives()) ? returnMs : 0);
  const door = new IntakeDoor(
    returned.filter((socket) => !isDoorSocket(socket)),
    log,
  );

  const withheldOf = (network: string): readonly AddressRange[] =>
    controller.networks().find(({ name }) => name === network)?.withheld ?? [];
  const fabric = new FabricController({ tag, log, withheld: withheldOf, onChange: () => reconciler.noteChange('') });
  const doors = new DoorsController({ log, existing: returned });
  const idsKeeper = new IdsKeeper({
    data,
    log,
    events: {
      started: (name, pid, restarts) => system('process-started', `${name} started`, { process: name, pid, restarts }),
      died: (name, pid, exit, restarts) =>
        system('process-died', `${name} died: ${exit}`, { process: name, pid, exit, restarts }),
    },
  });
  const ids = new IdsController({
    tag,
    log,
    ruleDirectory: ownRuleDirectory(ownInstallation().root),
    processes: idsKeeper,
    legs: () =>
      (services.network?.legs ?? []).flatMap(({ interface: name, mac, tunnel }) => (tunnel ? [] : [{ interface: name, mac }])),
    accounts: () => idsKeeper.accounts(),
  });
  const annexes: readonly Annex[] = [fabric, services, doors, ids];
  for (const annex of annexes) lifetime.own(annex.name, annex);
  const controller = new DiversionController({
    stateDirectory: join(data, 'state'),
    annexes,
    ports: { tcp: door.port('tcp'), udp: door.port('udp'), narrow: door.port('narrow') },
    tag,
    log,
    clock: systemClock,
    preflight: preflightOf(),
    onEvent: ({ name, message, details }) => {
      system(name, message, details);
      if (name === 'rolled-back') {
        settled = 'rolled-back';
        configuration = former ?? configuration;
        former = undefined;
      }
      if (name === 'rolled-back' || name === 'taken-down') offer();
    },
  });
  lifetime.own('controller', controller);
  /** Lives from here on; its first look comes with the first offer. */
  const reconciler = lifetime.own(
    'reconciler',
    new Reconciler({
      repairables: [{ name: 'diversions', repair: (request) => controller.repair(request) }],
      log,
      onRepair: (repair) => {
        const { network, object, message } = repair;
        system('repaired', message, { object, ...(network === '' ? {} : { network }) });
        // Sockets of a link or namespace that is another one now serve nobody.
        if (object === 'netns' || object === 'link' || network === '') offerSoon();
      },
      onTrouble: ({ name, message, details }) =>
        alert(name === 'contended' ? 'kernel-contended' : name, 'medium', message, details),
    }),
  );
  const personaRules = join(ownInstallation().root, 'rules');
  /** Of the plan applied last; after a start that of the file, which may have been edited since. */
  let configuration: Configuration = readAtStart();
  /** Until a change that waits for confirmation is confirmed: that of the one before. */
  let former: Configuration | undefined;
  let planned: { readonly plan: Plan; readonly configuration: Configuration } | undefined;
  let offering = false;
  let settled: 'none' | 'pending' | 'confirmed' | 'rolled-back' = 'none';

  function read(file: string | undefined): Configuration {
    return readConfiguration(file, { personas: readPersonas(personaRules) });
  }

  /** What is applied is looked after, and rolled back in time, whatever the file says by now: the next plan tells its mistakes. */
  function readAtStart(): Configuration {
    try {
      return read(values.config);
    } catch (error) {
      log.error('the configuration is not usable; what is applied stays', { error: asWeirError(error).message });
      return read(undefined);
    }
  }

  /** Tells the gateway what is true now: sockets for the interfaces in use, and who lives where. */
  function offer(): void {
    const networks = controller.networks();
    door.open(doorNetworks(networks), services.network && { netns: services.path, group: captureGroup });
    const description: GatewayOffer = describeOffer(networks, configuration, ownSubnets(), {
      kernelPath: services.kernelPath,
      relay: doors.relay,
      dials: dials(),
    });
    handover.offer([...door.sockets, ...doors.sockets], description);
    door.closeLeft();
    doors.closeLeft();
    const own = annexes.flatMap(({ name, namespace }) => (namespace ? [{ name: `annex ${name}`, netns: namespace }] : []));
    reconciler.watch([...networks, ...own]);
  }

  /** Once for all repairs of a run: each offer looks at every socket of every network. */
  function offerSoon(): void {
    if (offering) return;
    offering = true;
    setImmediate(() => {
      offering = false;
      if (lifetime.ending) return;
      try {
        offer();
      } catch (error) {
        log.error('the gateway could not be given its sockets', { error: asWeirError(error).message });
      }
    });
  }

  async function plan(file: string | undefined): Promise<PlanAnswer> {
    const next = file === undefined ? read(configuration.file ?? values.config) : read(file);
    const made = await controller.plan(next, {
      ...(values.operator ? { sshConnection: values.operator } : {}),
      probeLiveHosts: (link, ranges) => askGatewayForLiveHosts(link, ranges, next.probing.claimRate),
    });
    planned = { plan: made, configuration: next };
    return { text: renderPlan(made), json: describePlan(made), changes: made.changes.length };
  }

  await controller.resume();
  if (controller.pending()) settled = 'pending';
  offer();

  const control = new ControlServer({
    path: run('netd.sock'),
    mode: 0o600,
    log,
    verbs: {
      ready: () => true,
      plan: (args) => plan(fileOf(args)),
      apply: async (args) => {
        if (!planned) await plan(fileOf(args));
        const confirmWithinMs = numberOf(args, 'confirmWithinMs');
        if (planned) {
          await controller.apply(planned.plan, confirmWithinMs === undefined ? {} : { confirmWithinMs }).catch((error) => {
            // Links that were taken back are others than before: their sockets too.
            offerSoon();
            throw error;
          });
          former = confirmWithinMs === undefined ? undefined : (former ?? configuration);
          configuration = planned.configuration;
        }
        // The plan may have raised the ceiling of the accept queue; listening again makes it hold.
        door.listenAgain();
        doors.listenAgain();
        planned = undefined;
        settled = confirmWithinMs === undefined ? 'confirmed' : 'pending';
        offer();
        return { applied: true, ...(confirmWithinMs === undefined ? {} : { confirmWithinMs }) };
      },
      confirm: async () => {
        const waited = controller.pending() !== undefined;
        await controller.confirm();
        if (waited) settled = 'confirmed';
        former = undefined;
        return { confirmed: waited };
      },
      rollback: async () => {
        const waited = controller.pending() !== undefined;
        await controller.rollback('asked for');
        if (waited) settled = 'rolled-back';
        return { rolledBack: waited };
      },
      pending: () => ({ state: settled }),
      verify: () => controller.verify(),
      down: async () => {
        await controller.down();
        return { down: true };
      },
      status: () => ({
        diversions: [...diversionStatus(controller.networks()), ...relayedDiversions(doors.relay)],
        ...(controller.pending() ? { confirmBefore: renderMicros(controller.pending()?.deadline ?? 0) } : {}),
        ...repairStatus(reconciler.status(), annexes),
      }),
    },
  });
  await control.listen();
  lifetime.own('control', control);

  const reports = new ControlServer({
    path: run('report.sock'),
    mode: 0o600,
    log,
    verbs: {
      conflict: async (args) => {
        const { network, address, mac, interface: link } = conflictOf(args);
        const where = network === '' ? link : network;
        alert('address-conflict', 'high', `${address} belongs to ${mac} on ${where}: given back`, {
          ...(network === '' ? {} : { network }),
          address,
          mac,
          interface: link,
        });
        await controller.withhold(network, [address], `answered by ${mac}`);
        offer();
        return null;
      },
    },
  });
  await reports.listen();
  await chown(run('report.sock'), uid, 0);
  lifetime.own('reports', reports);

  log.info('ready', { pid: process.pid, tcp: door.port('tcp'), udp: door.port('udp') });
}

/** Of the machine's own addresses. */
function ownSubnets(): AddressRange[] {
  const texts = Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ cidr }) => cidr ?? ''));
  return texts.flatMap((text) => parseRange(text) ?? []);
}

/** On a busy machine one that lives may take longer to answer than we wait here. */
async function gatewayLives(): Promise<boolean> {
  try {
    await callControl(run('gateway.sock'), 'ready', null, 1000);
    return true;
  } catch (error) {
    return asWeirError(error).code === 'timeout';
  }
}

/** Packets are the gateway's to read: it probes, and what it answers is checked like any report. */
async function askGatewayForLiveHosts(link: string, ranges: readonly AddressRange[], rate: number): Promise<AddressRange[]> {
  const answer = await callControl(run('gateway.sock'), 'probe', { link, ranges: ranges.map(renderRange), rate }, 290_000);
  if (!Array.isArray(answer)) throw new WeirError('bad-request', 'the gateway answered a probe with something else than a list');
  return answer.map((text) => {
    const range = typeof text === 'string' ? parseRange(text) : undefined;
    if (!range) throw new WeirError('bad-request', 'the gateway reported a live host that is not an address');
    return range;
  });
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

function fileOf(args: unknown): string | undefined {
  return isRecord(args) && typeof args.file === 'string' ? args.file : undefined;
}

function numberOf(args: unknown, key: string): number | undefined {
  const value = isRecord(args) ? args[key] : undefined;
  return typeof value === 'number' && Number.isFinite(value) && value > 0 ? value : undefined;
}

function conflictOf(args: unknown): { network: string; address: string; mac: string; interface: string } {
  const { network = '', address, mac, interface: link } = isRecord(args) ? args : {};
  if ([network, address, mac, link].every((one) => typeof one === 'string')) {
    const checked = { network: String(network), address: String(address), mac: String(mac), interface: String(link) };
    if (
      /^[a-z0-9-]{0,32}$/.test(checked.network) &&
      parseRange(checked.address) &&
      /^[0-9a-f:]{17}$/.test(checked.mac) &&
      /^[^\s/]{1,15}$/.test(checked.interface)
    )
      return checked;
  }
  throw new WeirError('bad-request', 'a conflict must be {network, address, mac, interface}');
}

/** The supervisor died without telling us to end: that is a crash like any other, and a new one takes over. */
async function succeed(): Promise<void> {
  log.error('the supervisor died, starting another');
  await lifetime.end();
  const { node, root } = ownInstallation();
  const up = ['up', '--yes', ...(values.config ? ['-c', values.config] : [])];
  const argv = [join(root, 'dist/src/programs/weir.js'), ...(values.successor ? (JSON.parse(values.successor) as string[]) : up)];
  const environment = { ...process.env, ...(values.operator ? { SSH_CONNECTION: values.operator } : {}) };
  spawn(node, argv, { cwd: '/', env: environment, detached: true, stdio: ['ignore', 'ignore', 'inherit'] }).unref();
  process.exit(0);
}

liveUntilTold({ main, lifetime, log, onLost: () => void succeed() });
