// Owns what Suricata needs of the kernel: a namespace weir-TAG.ids with a TAP device, sockets that watch hops and services, a directory of
// configuration and rules. What changes there is built anew as a whole, but rules, which a running Suricata takes over. Its
// processes are their starter's (IdsProcesses); attackers' bytes pass nowhere here.

import { randomBytes } from 'node:crypto';
import { chownSync, constants, existsSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { asWeirError, WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { createCommandRunner } from '../kernel/command.ts';
import { closeDescriptor } from '../kernel/libc.ts';
import { readNamespaceIdentity } from '../kernel/namespace-handle.ts';
import { createNetns, deleteNetns, netnsExists, netnsPath } from '../kernel/netns.ts';
import { macFilter, openSniffSocket, portsFilter } from '../kernel/sniff-socket.ts';
import { readInterfaceIndex } from '../kernel/socket-place.ts';
import { readSysctl, writeSysctl } from '../kernel/sysctl.ts';
import { openTap } from '../kernel/tap.ts';
import type { AddressRange } from '../model/address.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import type { Persona } from '../model/persona.ts';
import { commonTag, feedLink, firstHopTag, type SniffedHop } from '../model/suricata-settings.ts';
import type { Annex, AnnexStatus, Repair } from './annex.ts';
import { type DesiredState, encodeState, type IdsState } from './desired-state.ts';
import {
  digestOf,
  type IdsAccounts,
  type IdsFiles,
  idsFiles,
  readRuleFiles,
  removeIdsFiles,
  writeIdsFiles,
  writeRules,
} from './ids-files.ts';
import { planBoundDecoys } from './services-network.ts';
import { findSuricata } from './suricata-program.ts';

/** A hop with the socket that watches it and the tag of its frames. */
export interface WatchedHop extends SniffedHop {
  readonly fd: number;
  readonly tag: number;
  readonly interfaceIndex: number;
}

/** The wire of services with a TCP/IP stack of their own: packets to and from its MAC pass as they are. */
export interface NativeLeg {
  readonly interface: string;
  readonly mac: string;
}

export interface WatchedLeg extends NativeLeg {
  readonly fd: number;
  readonly interfaceIndex: number;
}

/** Decoys whose packets are shown as they are. */
export interface NativeDecoys {
  readonly diversion: string;
  readonly service: string;
  readonly ranges: readonly AddressRange[];
}

/** What Suricata and its feeder run with. Descriptors stay the controller's. */
export interface IdsRun {
  /** Suricata's own path. */
  readonly program: string;
  /** Path of the namespace. */
  readonly netns: string;
  readonly files: IdsFiles;
  readonly accounts: IdsAccounts;
  readonly tap: number;
  /** The pipe of alerts, both ends: so what is in it outlives whoever reads it. */
  readonly eve: number;
  readonly hops: readonly WatchedHop[];
  readonly legs: readonly WatchedLeg[];
  readonly native: readonly NativeDecoys[];
  /** Groups of decoys that show MACs of their own, and how they look. */
  readonly groups: readonly DecoyGroup[];
  readonly personas: readonly Persona[];
  readonly tags: Readonly<Record<string, number>>;
  readonly token: string;
}

/** Starts and looks after the two processes. */
export interface IdsProcesses {
  /** Not called while they run. */
  start(run: IdsRun): void;
  /** Rules have changed: a running Suricata reads them again. Never throws. */
  reload(): void;
  /** Resolves when both are gone. Idempotent. */
  stop(): Promise<void>;
  status(): AnnexStatus;
}

export interface IdsControllerOptions {
  /** Distinguishes several Weirs on one machine. */
  readonly tag: string;
  readonly log: Log;
  /** Rule files that come with Weir. */
  readonly ruleDirectory: string;
  readonly processes: IdsProcesses;
  /** Of the services network as applied, which is applied before. */
  readonly legs: () => readonly NativeLeg[];
  /** Finds or makes them. */
  readonly accounts: () => Promise<IdsAccounts>;
  /** Path of the machine's own namespace; absent: the one this process is in. */
  readonly netns?: string;
  /** Default `/run/weir-TAG.ids`. */
  readonly directory?: string;
}

/** The largest a TAP takes: frames may be datagrams of any size. */
const feedMtu = 65_521;
const maxLegs = 32;

/** Needs root. */
export class IdsController implements Annex {
  readonly name = 'ids';
  readonly #options: IdsControllerOptions;
  readonly #netns: string;
  readonly #files: IdsFiles;
  #state: IdsState | undefined;
  #native: readonly NativeDecoys[] = [];
  /** As last asked for; what is running keeps those of its start. */
  #faces: Pick<IdsRun, 'groups' | 'personas'> = { groups: [], personas: [] };
  #run: IdsRun | undefined;
  #identity: bigint | undefined;
  #digest = '';
  #missing: { readonly state: IdsState; readonly native: readonly NativeDecoys[]; readonly why: string } | undefined;

  constructor(options: IdsControllerOptions) {
    this.#options = options;
    this.#netns = `weir-${options.tag}.ids`;
    this.#files = idsFiles(options.directory ?? `/run/${this.#netns}`);
  }

  get namespace(): string | undefined {
    return this.#run?.netns;
  }

  async difference(desired: DesiredState | undefined): Promise<readonly string[]> {
    const wanted = desired?.ids;
    if (!wanted) return this.#isPresent ? [`stop Suricata, remove network namespace ${this.#netns}`] : [];
    await findSuricata(createCommandRunner());
    const rules = readRuleFiles(this.#options.ruleDirectory, wanted);
    if (!this.#run || !this.#isAsApplied(wanted, nativeDecoys(desired))) {
      const hops = wanted.settings.hops.map(({ interface: name, ports }) => `, hop on ${name} tcp ${ports.join(', ')}`).join('');
      return [
        `${this.#run ? 'restart' : 'start'} Suricata in network namespace ${this.#netns}: ${rules.length} rule files${hops}`,
      ];
    }
    return digestOf(rules) === this.#digest ? [] : [`load Suricata's rules again: ${rules.length} files`];
  }

  async apply(desired: DesiredState | undefined): Promise<void> {
    const wanted = desired?.ids;
    this.#missing = undefined;
    if (!wanted) {
      if (this.#isPresent) await this.#remove();
      return;
    }
    await findSuricata(createCommandRunner());
    this.#faces = facesOf(desired);
    const rules = readRuleFiles(this.#options.ruleDirectory, wanted);
    const native = nativeDecoys(desired);
    if (this.#run && this.#isAsApplied(wanted, native)) {
      if (digestOf(rules) === this.#digest) return;
      writeRules(this.#files, rules, this.#run.token, this.#run.accounts.suricata.gid);
      this.#digest = digestOf(rules);
      this.#options.processes.reload();
      return;
    }
    await this.#buildOrMiss(wanted, native);
  }

  async repair(): Promise<readonly Repair[]> {
    const wanted = this.#missing?.state ?? this.#state;
    if (!wanted || (!this.#missing && this.#isWhole)) return [];
    await this.#buildOrMiss(wanted, this.#missing?.native ?? this.#native);
    this.#missing = undefined;
    return [
      {
        network: '',
        object: 'netns',
        subject: 'ids',
        message: `network namespace ${this.#netns} was not as left: built again, Suricata restarted`,
      },
    ];
  }

  status(): AnnexStatus {
    if (this.#missing) return { reasons: [`Suricata does not run: ${this.#missing.why}; it is tried again`], lines: [] };
    if (!this.#run) return { reasons: [], lines: [] };
    const { reasons, lines } = this.#options.processes.status();
    const beyond = this.#native.length === 0 ? 0 : this.#options.legs().length - maxLegs;
    return {
      lines,
      reasons:
        beyond > 0
          ? [...reasons, `${beyond} wires of services with \`path: kernel\` are not shown to Suricata: it is shown ${maxLegs}`]
          : reasons,
    };
  }

  /** The processes end with this one. */
  async close(): Promise<void> {
    await this.#options.processes.stop();
    this.#closeDescriptors();
  }

  #isAsApplied(state: IdsState, native: readonly NativeDecoys[]): boolean {
    if (!this.#state || encodeState([this.#state, this.#native]) !== encodeState([state, native])) return false;
    const now = native.length === 0 ? [] : this.#options.legs().slice(0, maxLegs);
    const then = this.#run?.legs ?? [];
    return (
      now.length === then.length &&
      now.every(({ interface: name, mac }, at) => then[at].interface === name && then[at].mac === mac)
    );
  }

  get #isPresent(): boolean {
    return this.#run !== undefined || netnsExists(this.#netns) || existsSync(this.#files.directory);
  }

  get #isWhole(): boolean {
    const run = this.#run;
    if (!run || readNamespaceIdentity(run.netns) !== this.#identity) return false;
    if (readInterfaceIndex(feedLink, run.netns) === undefined) return false;
    // A hop whose interface is away is waited for; one that came back is another one.
    return [...run.hops, ...run.legs].every(({ interface: name, interfaceIndex }) => {
      const now = readInterfaceIndex(name, this.#options.netns);
      return now === undefined || now === interfaceIndex;
    });
  }

  /** What cannot be built is remembered as missing, and tried again at each repair. */
  async #buildOrMiss(wanted: IdsState, native: readonly NativeDecoys[]): Promise<void> {
    try {
      await this.#build(wanted, native);
    } catch (error) {
      await this.#remove();
      this.#missing = { state: wanted, native, why: asWeirError(error).message };
      throw error;
    }
  }

  async #build(wanted: IdsState, native: readonly NativeDecoys[]): Promise<void> {
    const { groups, personas } = this.#faces;
    const { ruleDirectory, processes } = this.#options;
    await this.#remove();
    const program = await findSuricata(createCommandRunner());
    const accounts = await this.#options.accounts();
    const rules = readRuleFiles(ruleDirectory, wanted);
    await createNetns([this.#netns]);
    const netns = netnsPath(this.#netns);
    const runner = createCommandRunner(netns);
    // Nothing of the kernel's own shall be among what Suricata judges.
    for (const key of ['net/ipv6/conf/default/disable_ipv6', 'net/ipv6/conf/all/disable_ipv6'])
      if ((await readSysctl(runner, key)) !== undefined) await writeSysctl(runner, key, '1');
    const token = randomBytes(16).toString('hex');
    const tap = openTap(netns, feedLink);
    const hops: WatchedHop[] = [];
    const legs: WatchedLeg[] = [];
    let eve = -1;
    try {
      writeIdsFiles(this.#files, wanted, accounts);
      eve = await this.#openPipe(accounts);
    } catch (error) {
      closeDescriptor(tap);
      throw error;
    }
    this.#run = {
      program,
      netns,
      files: this.#files,
      accounts,
      tap,
      eve,
      hops,
      legs,
      native,
      groups,
      personas,
      tags: wanted.tags,
      token,
    };
    await runner.run('ip', ['-batch', '-'], {
      input: `link set lo up\nlink set ${feedLink} mtu ${feedMtu} txqueuelen 1 arp off up\n`,
    });
    for (const [index, hop] of wanted.settings.hops.entries()) hops.push(this.#watchHop(hop, index, wanted.tags));
    if (native.length > 0) for (const leg of this.#options.legs().slice(0, maxLegs)) legs.push(this.#watchLeg(leg));
    writeRules(this.#files, rules, token, accounts.suricata.gid);
    this.#digest = digestOf(rules);
    this.#identity = readNamespaceIdentity(netns);
    this.#state = wanted;
    this.#native = native;
    processes.start(this.#run);
  }

  async #openPipe({ suricata }: IdsAccounts): Promise<number> {
    const { evePipe } = this.#files;
    await createCommandRunner().run('mkfifo', ['-m', '0620', evePipe]);
    chownSync(evePipe, 0, suricata.gid);
    return openSync(evePipe, constants.O_RDWR | constants.O_NONBLOCK);
  }

  #watchLeg(leg: NativeLeg): WatchedLeg {
    const interfaceIndex = this.#indexOf(leg.interface);
    return { ...leg, interfaceIndex, fd: openSniffSocket(leg.interface, macFilter(leg.mac), this.#options.netns) };
  }

  #indexOf(name: string): number {
    const index = readInterfaceIndex(name, this.#options.netns);
    if (index !== undefined) return index;
    throw new WeirError('kernel-refused', `there is no interface ${name} to watch for Suricata`, { link: name });
  }

  #watchHop(hop: SniffedHop, index: number, tags: Readonly<Record<string, number>>): WatchedHop {
    const interfaceIndex = this.#indexOf(hop.interface);
    const tag = hop.diversion === undefined ? firstHopTag + index : (tags[hop.diversion] ?? commonTag);
    return { ...hop, tag, interfaceIndex, fd: openSniffSocket(hop.interface, portsFilter(hop.ports), this.#options.netns) };
  }

  async #remove(): Promise<void> {
    await this.#options.processes.stop();
    this.#closeDescriptors();
    this.#state = undefined;
    this.#digest = '';
    await deleteNetns([this.#netns]);
    removeIdsFiles(this.#files);
  }

  #closeDescriptors(): void {
    if (!this.#run) return;
    for (const { fd } of [...this.#run.hops, ...this.#run.legs]) closeDescriptor(fd);
    closeDescriptor(this.#run.tap);
    closeDescriptor(this.#run.eve);
    this.#run = undefined;
  }
}

/** Those that an agent's machine sends on are its gateway's to show. */
function nativeDecoys(desired: DesiredState | undefined): NativeDecoys[] {
  if (!desired) return [];
  const here = new Set(desired.services.filter(({ tunnel }) => tunnel === undefined).map(({ name }) => name));
  return planBoundDecoys(desired).filter(({ service }) => here.has(service));
}

/** Of all networks. */
function facesOf({ groups, personas, segments }: DesiredState): Pick<IdsRun, 'groups' | 'personas'> {
  const insides = segments.map(({ inside }) => inside);
  const all = [...groups, ...insides.flatMap((inside) => inside.groups)];
  const looks = [...personas, ...insides.flatMap((inside) => inside.personas)];
  return {
    groups: all.filter(({ kind, claim }) => kind === 'claimed' && claim !== 'address'),
    personas: [...new Map(looks.map((persona) => [persona.name, persona])).values()],
  };
}

/** Where rules of Weir's own lie below an installation. */
export const ownRuleDirectory = (root: string): string => join(root, 'rules/suricata');
