// Starts Suricata and its feeder for the controller of the kernel's part (plan/ids-controller.ts) and keeps both running. netd's:
// it alone may put a process into a namespace and drop its privileges there.

import { join } from 'node:path';
import { callControl } from '../api/control.ts';
import { asWeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { renderRange } from '../model/address.ts';
import type { AnnexStatus } from '../plan/annex.ts';
import type { IdsProcesses, IdsRun } from '../plan/ids-controller.ts';
import type { IdsAccounts } from '../plan/ids-files.ts';
import { type Account, ensureAccount, idsAccountName } from './account.ts';
import { Child, type ChildEvents } from './child.ts';
import type { IdsSettings } from './ids-settings.ts';
import { type IdsHearing, IdsWatch } from './ids-watch.ts';
import { ownInstallation } from './installation.ts';
import { type Installation, idsSpecification, suricataSpecification } from './launch.ts';
import { ensureReadableProgram } from './program-files.ts';

export interface IdsKeeperOptions {
  readonly data: string;
  readonly log: Log;
  readonly events: ChildEvents;
  /** Between looks whether one of them hangs; default 5 s. */
  readonly lookMs?: number;
}

/** Settings travel as one argument, which has its bound (MAX_ARG_STRLEN, 128 KiB): MACs beyond are left out of frames. */
const maxFaces = 512;

function facesOf({ groups, personas }: IdsRun): IdsSettings['faces'] {
  let left = maxFaces;
  const told = groups.map(({ diversion, ranges, population, macs }) => {
    const face = {
      diversion,
      ranges: ranges.slice(0, left).map(renderRange),
      seed: population.seed,
      macs: Object.fromEntries(Object.entries(macs).slice(0, left)),
    };
    left = Math.max(0, left - face.ranges.length - Object.keys(face.macs).length);
    return face;
  });
  const prefixes = personas.slice(0, maxFaces).map(({ name, macPrefixes }) => [name, macPrefixes.slice(0, 16)] as const);
  return { groups: told.filter(({ ranges }) => ranges.length > 0), prefixes: Object.fromEntries(prefixes) };
}

const graceMs = { ids: 3000, suricata: 3000 };
const reloadMs = 10_000;
const askMs = 4000;

export class IdsKeeper implements IdsProcesses {
  readonly #options: IdsKeeperOptions;
  #feeder: Account | undefined;
  #installation: Installation | undefined;
  #children: { readonly suricata: Child; readonly ids: Child } | undefined;
  #watch: IdsWatch | undefined;

  constructor(options: IdsKeeperOptions) {
    this.#options = options;
  }

  /** The accounts both run as; makes Suricata's where it is missing, and the program readable for the feeder's. */
  async accounts(): Promise<IdsAccounts> {
    const feeder = await ensureAccount();
    this.#feeder = feeder;
    this.#installation = await ensureReadableProgram(ownInstallation(), feeder, this.#options.data);
    return { feeder, suricata: await ensureAccount(idsAccountName) };
  }

  start(run: IdsRun): void {
    const { data, log } = this.#options;
    const events = this.#events();
    const { accounts, files, netns, tap, eve, hops, legs } = run;
    const settings: IdsSettings = {
      commandSocket: files.commandSocket,
      token: run.token,
      tags: run.tags,
      faces: facesOf(run),
      hops: hops.map(({ ports, tag, diversion, withoutHeader, interface: name }) => ({
        interface: name,
        ports,
        tag,
        withoutHeader,
        ...(diversion === undefined ? {} : { diversion }),
      })),
      legs: legs.map(({ interface: name }) => name),
      native: run.native.map(({ diversion, service, ranges }) => ({ diversion, service, ranges: ranges.map(renderRange) })),
    };
    const launch = {
      installation: this.#installation ?? ownInstallation(),
      account: this.#feeder ?? accounts.feeder,
      data,
    };
    const descriptors = [tap, eve, ...hops.map(({ fd }) => fd), ...legs.map(({ fd }) => fd)];
    const suricata = new Child(suricataSpecification(run.program, accounts.suricata, netns, files.configuration), events, log);
    const ids = new Child(idsSpecification(launch, JSON.stringify(settings), accounts.suricata.gid, descriptors), events, log);
    this.#children = { suricata, ids };
    suricata.start();
    ids.start();
    this.#watch = this.#look();
  }

  /**
   * A feeder that died takes Suricata with it: the next one shows the sessions that are open from their last answered record on, and
   * a Suricata that knows these flows would take that for what it has seen.
   */
  #events(): ChildEvents {
    const { events } = this.#options;
    return {
      started: (name, pid, restarts) => events.started(name, pid, restarts),
      died: (name, pid, exit, restarts) => {
        events.died(name, pid, exit, restarts);
        if (name === 'ids') this.#children?.suricata.kill();
      },
    };
  }

  #look(): IdsWatch {
    const { data, log, lookMs } = this.#options;
    return new IdsWatch({
      ask: () => callControl(join(data, 'run/ids.sock'), 'hearing', null, askMs) as Promise<IdsHearing>,
      runOf: (who) => this.#children?.[who].status().pid,
      end: (who, why) => {
        log.error(`${who} hangs: it is ended and started again`, { why });
        this.#children?.[who].kill();
      },
      ...(lookMs === undefined ? {} : { lookMs }),
    });
  }

  reload(): void {
    const { data, log } = this.#options;
    callControl(join(data, 'run/ids.sock'), 'reload', null, reloadMs).catch((error) =>
      log.warn('Suricata was not told of new rules; it reads them at its next start', { error: asWeirError(error).message }),
    );
  }

  async stop(): Promise<void> {
    const children = this.#children;
    this.#children = undefined;
    this.#watch?.close();
    // Suricata first: what it still says is heard.
    await children?.suricata.stop(graceMs.suricata);
    await children?.ids.stop(graceMs.ids);
  }

  status(): AnnexStatus {
    const children = this.#children;
    const states = children ? [children.suricata.status(), children.ids.status()] : [];
    return {
      lines: states.map(
        ({ name, pid, state, restarts }) =>
          `${name} ${state}${pid === undefined ? '' : `, pid ${pid}`}${restarts > 0 ? `, restarted ${restarts} times` : ''}`,
      ),
      reasons: states.flatMap(({ name, state, lastExit }) =>
        state === 'restarting' ? [`${name} died (${lastExit}) and is started again`] : [],
      ),
    };
  }
}
