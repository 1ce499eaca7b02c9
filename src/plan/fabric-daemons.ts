// Keeps FRR's two daemons of the fabric as they should be: zebra in the fabric's namespace, where the devices are, bgpd in
// the machine's, where the peers are; they talk over a socket that knows no namespaces. What they are told is
// fabric-speaker.ts; whether they run is asked of the kernel, never of a file.

import { existsSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { CommandRunner } from '../kernel/command.ts';
import {
  daemonGroup,
  type FrrDaemon,
  type FrrFiles,
  type FrrProgram,
  findFrrDaemons,
  frrProgramPath,
  isAlive,
  makeFrrDirectories,
  readNetnsOf,
  removeFrrDirectories,
  startFrrDaemon,
  stopFrrDaemon,
} from '../kernel/frr-daemon.ts';
import { tellFrr } from '../kernel/frr-vtysh.ts';
import { readSockets } from '../kernel/observe-sockets.ts';
import { renderAddress } from '../model/address.ts';
import { daemonArguments, planSpeakerChange, renderSpeaker, renderZebra } from './fabric-speaker.ts';
import type { FabricSpeaker } from './fabric-state.ts';

const bgpPort = 179;
/** First release with single VXLAN devices (FRRouting/frr#12364). */
const singleDeviceVersion = 9;
/** How long a daemon has to open its sockets before we go on without them. */
const readyMs = 5000;

export interface FabricDaemonsOptions {
  readonly files: FrrFiles;
  readonly log: Log;
  /** The machine's namespace. */
  readonly home: CommandRunner;
  /** A daemon ended: `ensure` puts it back. */
  readonly onExit: () => void;
}

/** One line for each thing done, for people. */
export interface DaemonStep {
  readonly program: FrrProgram;
  readonly change: string;
  readonly repair: string;
}

export class FabricDaemons {
  readonly #options: FabricDaemonsOptions;
  readonly #known = new Map<FrrProgram, FrrDaemon>();
  readonly #lastWords = new Map<FrrProgram, string>();
  #hears = true;

  constructor(options: FabricDaemonsOptions) {
    this.#options = options;
  }

  /** False: another program has BGP's port, so passive peers are not heard. */
  get hears(): boolean {
    return this.#hears;
  }

  /** Cheap: two reads below /proc. */
  get alive(): boolean {
    return (['zebra', 'bgpd'] as const).every((program) => {
      const daemon = this.#known.get(program);
      return daemon !== undefined && isAlive(daemon);
    });
  }

  /**
   * Throws `tool-missing` where FRR is not installed, or (`single`) where it is too old to see more than one VNI on a device:
   * it then takes the device for one of VNI 0 and announces nothing.
   */
  async check(single: boolean): Promise<void> {
    const zebra = frrProgramPath('zebra');
    frrProgramPath('bgpd');
    if (!single) return;
    const { stdout } = await this.#options.home.run(zebra, ['--version'], { anyCode: true });
    const version = /version (\d+)\.(\d+)/.exec(stdout);
    if (version && Number(version[1]) < singleDeviceVersion)
      throw new WeirError(
        'tool-missing',
        `FRR ${version[1]}.${version[2]} knows one VNI on each VXLAN device: use \`device: per-vni\`, or install FRR ${singleDeviceVersion} or newer (Debian 13 has it)`,
        { program: 'zebra', version: `${version[1]}.${version[2]}` },
      );
  }

  /** What `ensure` would do. Reads only. */
  difference(speaker: FabricSpeaker): DaemonStep[] {
    const steps: DaemonStep[] = [];
    if (!this.#find('zebra', undefined))
      steps.push({
        program: 'zebra',
        change: 'start FRR zebra',
        repair: `zebra had ended${this.#reasonOf('zebra')}: started again`,
      });
    const peers = speaker.peers.map(({ address, asn }) => `${address} (AS ${asn})`).join(', ');
    if (!this.#find('bgpd', undefined))
      steps.push({
        program: 'bgpd',
        change: `start FRR bgpd: AS ${speaker.asn}, peers ${peers}`,
        repair: `bgpd had ended${this.#reasonOf('bgpd')}: started again`,
      });
    else {
      const change = this.#speakerChange(speaker);
      if (change === 'restart' || change.length > 0)
        steps.push({
          program: 'bgpd',
          change: `change BGP speaker: AS ${speaker.asn}, peers ${peers}${change === 'restart' ? ' (sessions start anew)' : ''}`,
          repair: 'the BGP speaker was of another configuration: put right',
        });
    }
    return steps;
  }

  /** `sources`: addresses spoken from beside the VTEPs'. Returns what was done. Throws `tool-missing`, `kernel-refused`, `fault`. */
  async ensure(netns: string, speaker: FabricSpeaker, sources: readonly string[]): Promise<DaemonStep[]> {
    const { files, home } = this.#options;
    makeFrrDirectories(files);
    const inside = statSync(netns).ino;
    await this.#stopOthers('zebra', inside);
    const steps = this.difference(speaker);
    if (!this.#find('zebra', inside)) {
      this.#write('zebra', renderZebra());
      rmSync(files.zserv, { force: true });
      this.#start('zebra', daemonArguments('zebra', files, []), netns);
      await this.#ready(files.zserv, 'zebra');
    }
    const change = this.#speakerChange(speaker);
    if (change === 'restart') await this.#stop('bgpd');
    const configuration = renderSpeaker(speaker);
    if (!this.#find('bgpd', undefined)) {
      this.#write('bgpd', configuration);
      const heard = [...new Set([...speaker.locals, ...sources])];
      this.#hears = await this.#isFree(heard);
      const socket = path.join(files.sockets, 'bgpd.vty');
      rmSync(socket, { force: true });
      this.#start('bgpd', daemonArguments('bgpd', files, this.#hears ? heard : []), home.netns);
      await this.#ready(socket, 'bgpd');
      const zebra = this.#known.get('zebra');
      if (zebra) this.#replace(this.#syncedFile, identityOf(zebra));
    } else if (change !== 'restart' && change.length > 0) {
      await tellFrr(home, files, 'bgpd', change);
      this.#write('bgpd', configuration);
    }
    this.#writeSpeaker(speaker);
    return steps;
  }

  /** A zebra that bgpd has not told what it knows: it was started while bgpd ran. */
  get isUnknowing(): boolean {
    const zebra = this.#known.get('zebra');
    return zebra !== undefined && this.alive && readText(this.#syncedFile) !== identityOf(zebra);
  }

  /**
   * Has bgpd tell zebra everything, once zebra knows the VNIs (bgpd has then found it): a bgpd that sees a VNI again which
   * it knows already installs nothing. What we announce is withdrawn and announced again in the same moment.
   */
  async sync(speaker: FabricSpeaker): Promise<void> {
    const zebra = this.#known.get('zebra');
    if (!zebra || !this.isUnknowing) return;
    await tellFrr(this.#options.home, this.#options.files, 'bgpd', [
      `router bgp ${speaker.asn}`,
      'address-family l2vpn evpn',
      'no advertise-all-vni',
      'advertise-all-vni',
    ]);
    this.#replace(this.#syncedFile, identityOf(zebra));
  }

  /** Ends both and removes their files. bgpd says goodbye to its peers. */
  async remove(): Promise<void> {
    await this.#stop('bgpd');
    await this.#stop('zebra');
    removeFrrDirectories(this.#options.files);
  }

  /** Whether a fabric was here: its files are made before the daemons and removed after them. */
  get hasFiles(): boolean {
    return existsSync(this.#options.files.directory);
  }

  #reasonOf(program: FrrProgram): string {
    const words = this.#lastWords.get(program);
    return words ? ` (${words})` : '';
  }

  /** The known one while it lives, else one found among all processes: a netd that was started again adopts it so. */
  #find(program: FrrProgram, netns: number | undefined): FrrDaemon | undefined {
    const known = this.#known.get(program);
    if (known && isAlive(known)) return known;
    const found = findFrrDaemons(program, this.#options.files.zserv).find(
      ({ pid }) => netns === undefined || readNetnsOf(pid) === netns,
    );
    if (found) {
      this.#known.set(program, found);
      if (program === 'bgpd') this.#hears = found.arguments.includes('-l');
    } else this.#known.delete(program);
    return found;
  }

  /** A zebra that is left in a namespace without a name sees none of our devices. */
  async #stopOthers(program: FrrProgram, netns: number): Promise<void> {
    for (const daemon of findFrrDaemons(program, this.#options.files.zserv)) {
      if (readNetnsOf(daemon.pid) === netns) continue;
      this.#known.delete(program);
      await stopFrrDaemon(daemon);
    }
  }

  async #stop(program: FrrProgram): Promise<void> {
    this.#known.delete(program);
    for (const daemon of findFrrDaemons(program, this.#options.files.zserv)) await stopFrrDaemon(daemon);
  }

  #start(program: FrrProgram, args: readonly string[], netns: string | undefined): void {
    this.#lastWords.delete(program);
    const daemon = startFrrDaemon({
      program,
      arguments: args,
      ...(netns === undefined ? {} : { netns }),
      onExit: (reason) => {
        if (this.#known.get(program) !== daemon) return;
        this.#lastWords.set(program, reason);
        this.#options.log.warn(`${program} ended`, { reason });
        this.#options.onExit();
      },
    });
    this.#known.set(program, daemon);
    this.#options.log.info(`${program} started`, { pid: daemon.pid });
  }

  /** The daemon works once its socket is there; one that takes longer is left to the next look. */
  async #ready(socket: string, program: FrrProgram): Promise<void> {
    const end = performance.now() + readyMs;
    const exists = (): boolean => {
      try {
        return statSync(socket).isSocket();
      } catch {
        return false;
      }
    };
    while (!exists() && performance.now() < end && this.#find(program, undefined))
      await new Promise((resolve) => setTimeout(resolve, 20));
  }

  async #isFree(heard: readonly string[]): Promise<boolean> {
    const { listeners } = await readSockets(this.#options.home);
    return !listeners.some(
      ({ transport, port, address }) =>
        transport === 'tcp' && port === bgpPort && (address.value === 0n || heard.includes(renderAddress(address))),
    );
  }

  get #speakerFile(): string {
    return path.join(this.#options.files.directory, 'speaker.json');
  }

  get #syncedFile(): string {
    return path.join(this.#options.files.directory, 'synced');
  }

  #speakerChange(speaker: FabricSpeaker): readonly string[] | 'restart' {
    try {
      return planSpeakerChange(JSON.parse(readFileSync(this.#speakerFile, 'utf8')) as FabricSpeaker, speaker);
    } catch {
      return 'restart';
    }
  }

  #writeSpeaker(speaker: FabricSpeaker): void {
    const text = JSON.stringify(speaker);
    if (readText(this.#speakerFile) !== text) this.#replace(this.#speakerFile, text);
  }

  #write(program: FrrProgram, text: string): void {
    this.#replace(this.#options.files.configuration(program), text);
  }

  /** Whole or not at all; FRR's group may read. */
  #replace(file: string, text: string): void {
    const temporary = `${file}.new`;
    writeFileSync(temporary, text, { mode: 0o640 });
    daemonGroup(temporary);
    renameSync(temporary, file);
  }
}

const identityOf = ({ pid, start }: FrrDaemon): string => `${pid} ${start}`;

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
