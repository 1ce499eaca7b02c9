// The EVPN fabric: a network namespace of its own with a bridge and a VXLAN device for each VNI, a veth to each segment, and
// FRR beside it. Decides when what is done (fabric-changer.ts, fabric-daemons.ts), asks FRR how it is, and tells.
// Why it is not in the machine's own namespace: docs/decisions/0013.

import { asWeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { ChangeWatch } from '../kernel/change-watch.ts';
import { type CommandRunner, createCommandRunner } from '../kernel/command.ts';
import { type FrrFiles, frrFiles } from '../kernel/frr-daemon.ts';
import { askFrr } from '../kernel/frr-vtysh.ts';
import { netnsPath } from '../kernel/netns.ts';
import { type AddressRange, renderRange } from '../model/address.ts';
import type { Annex, AnnexStatus, Repair } from './annex.ts';
import { type DesiredState, encodeState } from './desired-state.ts';
import { FabricChanger } from './fabric-changer.ts';
import { FabricDaemons } from './fabric-daemons.ts';
import type { EntryChanges } from './fabric-entries.ts';
import { type PresentFabric, placesOf, planFabricLinks } from './fabric-links.ts';
import { type FabricState, fabricNetns, planFabric } from './fabric-state.ts';
import { type FabricReport, readPeer, renderFabricStatus } from './fabric-status.ts';

export interface FabricControllerOptions {
  /** First hexadecimal digits of the data directory's hash: several Weirs on one machine do not meet. */
  readonly tag: string;
  readonly log: Log;
  /** Path of the machine's namespace; absent: this process's own. */
  readonly netns?: string;
  /** Where files and sockets lie; FRR's account must be able to get there. Default `/run/weir-TAG.fabric`. */
  readonly directory?: string;
  /** Given back to live hosts since the plan was made, by network; no route may name them. */
  readonly withheld?: (network: string) => readonly AddressRange[];
  /** A daemon ended, or something in the fabric's namespace changed: time for `repair`. Many at once are told as they come. */
  readonly onChange?: () => void;
  /** From one look at FRR to the next. */
  readonly pollMs?: number;
}

const livenessMs = 500;
/** Reading tens of thousands of entries at every small change would cost more than it gives. */
const entryLookMs = 5000;
const manyEntries = 4096;
const maxDifferences = 40;
/** Repairs done while a state was applied again and not yet told. */
const maxUntold = 64;

/** Needs root. Methods take their turn; every one rejects with WeirError. */
export class FabricController implements Annex {
  readonly name = 'fabric';
  readonly #options: FabricControllerOptions;
  readonly #files: FrrFiles;
  readonly #home: CommandRunner;
  readonly #changer: FabricChanger;
  readonly #daemons: FabricDaemons;
  #state: FabricState | undefined;
  #desired: DesiredState | undefined;
  #watch: ChangeWatch | undefined;
  #liveness: NodeJS.Timeout | undefined;
  #poll: NodeJS.Timeout | undefined;
  #polling = false;
  #entriesReadAt = Number.NEGATIVE_INFINITY;
  #taken: EntryChanges['taken'] = new Map();
  #downSince = new Map<string, number>();
  #report: Pick<FabricReport, 'summary' | 'vnis' | 'lastResets'> | undefined;
  #failure: string | undefined;
  readonly #untold: Repair[] = [];
  #planned: { desired: DesiredState | undefined; given: string; state: FabricState | undefined } | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: FabricControllerOptions) {
    this.#options = options;
    this.#files = frrFiles(options.directory ?? `/run/${fabricNetns(options.tag)}`);
    this.#home = createCommandRunner(options.netns);
    this.#changer = new FabricChanger(this.#home, options.tag);
    this.#daemons = new FabricDaemons({
      files: this.#files,
      log: options.log,
      home: this.#home,
      onExit: () => this.#options.onChange?.(),
    });
  }

  get namespace(): string | undefined {
    return this.#state && netnsPath(this.#state.netns);
  }

  difference(desired: DesiredState | undefined): Promise<readonly string[]> {
    return this.#inTurn(async () => {
      const state = this.#planState(desired);
      if (!state) return this.#isPresent ? [`remove EVPN fabric ${fabricNetns(this.#options.tag)} with its FRR daemons`] : [];
      await this.#check(state);
      const lines = this.#daemons.difference(state.speaker).map(({ change }) => change);
      const { exists } = this.#changer;
      if (!exists) lines.unshift(`create network namespace ${state.netns} for the EVPN fabric`);
      const present = exists ? await this.#changer.read(state) : undefined;
      // Segments that the same change makes will be there by then.
      const whole: PresentFabric = {
        links: present?.links ?? [],
        joined: present?.joined ?? new Set(),
        segments: new Set(state.vnis.map(({ segmentNetns }) => segmentNetns)),
      };
      lines.push(...planFabricLinks(state, whole, await this.#changer.sources(state)).map(({ change }) => change));
      if (present) lines.push(...describeEntries(state, await this.#changer.entryChanges(state)));
      return lines.length <= maxDifferences
        ? lines
        : [...lines.slice(0, maxDifferences - 1), `and ${lines.length - maxDifferences + 1} more changes of the EVPN fabric`];
    });
  }

  apply(desired: DesiredState | undefined): Promise<void> {
    return this.#inTurn(async () => {
      const state = this.#planState(desired);
      if (!state) {
        await this.#remove();
        return;
      }
      const again = this.#state === state || (this.#state !== undefined && encodeState(this.#state) === encodeState(state));
      const done = await this.#ensure(state, !again);
      // Applying what is applied already is how a controller of diversions looks after its segments: what had to be done was
      // a repair, and the next call of `repair` says so.
      if (again) this.#untold.push(...done.slice(0, maxUntold - this.#untold.length));
      this.#desired = desired;
      this.#state = state;
      if (!again || done.length > 0) this.#begin(state);
    });
  }

  repair(): Promise<readonly Repair[]> {
    return this.#inTurn(async () => {
      if (!this.#state) return [];
      // What was given back meanwhile is no decoy any more.
      const state = this.#planState(this.#desired) ?? this.#state;
      const done = await this.#ensure(state, false);
      this.#state = state;
      if (done.length > 0) this.#begin(state);
      return [...this.#untold.splice(0), ...done];
    });
  }

  /** Puts everything right that is not, and says what that was. `whole`: also what is costly to read and rarely changes. */
  async #ensure(state: FabricState, whole: boolean): Promise<Repair[]> {
    const repairs: Repair[] = [];
    try {
      await this.#check(state);
      if (await this.#changer.ensureNamespace(state))
        repairs.push({
          network: '',
          object: 'netns',
          subject: state.netns,
          message: `network namespace ${state.netns} was gone: put back`,
        });
      if (await this.#changer.ensureSilence(state))
        repairs.push({
          network: '',
          object: 'table',
          subject: 'fabric',
          message: `somebody changed the nft table bridge weir of ${state.netns}: put back`,
        });
      for (const { network, repair } of await this.#changer.ensureLinks(state))
        repairs.push({ network, object: 'link', subject: 'fabric', message: repair });
      if (whole || repairs.length > 0 || this.#entriesAreDue(state)) {
        const changes = await this.#changer.ensureEntries(state);
        this.#taken = changes.taken;
        this.#entriesReadAt = performance.now();
        for (const line of describeEntries(state, changes))
          repairs.push({
            network: '',
            object: 'route',
            subject: 'announcements',
            message: `announced decoys were not as they should be (${line}): put right`,
          });
      }
      if (whole || repairs.length > 0 || !this.#daemons.alive) {
        const sources = await this.#changer.sources(state);
        for (const { program, repair } of await this.#daemons.ensure(netnsPath(state.netns), state.speaker, sources))
          repairs.push({ network: '', object: 'process', subject: program, message: repair });
      }
      this.#failure = undefined;
      return repairs;
    } catch (error) {
      this.#failure = asWeirError(error).message;
      if (!whole) this.#untold.push(...repairs.slice(0, maxUntold - this.#untold.length));
      throw error;
    }
  }

  status(): AnnexStatus {
    const state = this.#state;
    if (!state) return { reasons: [], lines: [] };
    const now = performance.now();
    const places = placesOf(state);
    return renderFabricStatus(state, {
      summary: this.#report?.summary,
      vnis: this.#report?.vnis,
      lastResets: this.#report?.lastResets ?? new Map(),
      downForMs: new Map([...this.#downSince].map(([address, since]) => [address, now - since])),
      hears: this.#daemons.hears,
      taken: this.#taken,
      portNetworks: new Map(state.vnis.map(({ vni, network }) => [places.get(vni)?.port ?? '', network])),
      ...(this.#failure === undefined ? {} : { failure: this.#failure }),
    });
  }

  close(): Promise<void> {
    return this.#inTurn(async () => this.#rest());
  }

  #check({ vnis }: FabricState): Promise<void> {
    return this.#daemons.check(vnis.some(({ single }) => single));
  }

  /** Large populations take a while to compute: once for each desired state and each set of addresses given back. */
  #planState(desired: DesiredState | undefined): FabricState | undefined {
    const withheld = new Map((desired?.segments ?? []).map(({ name }) => [name, this.#options.withheld?.(name) ?? []] as const));
    const given = [...withheld].map(([name, ranges]) => [name, ...ranges.map(renderRange)].join(' ')).join('\n');
    if (this.#planned?.desired === desired && this.#planned?.given === given) return this.#planned.state;
    const state = planFabric(desired, this.#options.tag, (network) => withheld.get(network) ?? []);
    this.#planned = { desired, given, state };
    return state;
  }

  /** Cheap: most machines have no fabric, and are asked all the same. */
  get #isPresent(): boolean {
    return this.#changer.exists || this.#daemons.hasFiles;
  }

  #entriesAreDue(state: FabricState): boolean {
    const count = state.vnis.reduce((total, { entries }) => total + entries.macs.length + entries.addresses.length, 0);
    return count <= manyEntries || performance.now() - this.#entriesReadAt >= entryLookMs;
  }

  async #remove(): Promise<void> {
    this.#rest();
    this.#state = undefined;
    this.#desired = undefined;
    this.#report = undefined;
    this.#taken = new Map();
    this.#untold.length = 0;
    this.#failure = undefined;
    if (!this.#isPresent) return;
    await this.#daemons.remove();
    await this.#changer.remove();
  }

  #begin(state: FabricState): void {
    this.#watch?.close();
    this.#watch = new ChangeWatch({ netns: netnsPath(state.netns), onChange: () => this.#options.onChange?.() });
    // Daemons that another process of ours started tell nobody when they end.
    this.#liveness ??= setInterval(() => {
      if (!this.#daemons.alive) this.#options.onChange?.();
    }, livenessMs).unref();
    this.#poll ??= setInterval(() => void this.#look(), this.#options.pollMs ?? 3000).unref();
    void this.#look();
  }

  #rest(): void {
    this.#watch?.close();
    this.#watch = undefined;
    clearInterval(this.#liveness);
    clearInterval(this.#poll);
    this.#liveness = undefined;
    this.#poll = undefined;
    this.#changer.close();
  }

  /** One at a time; a daemon that does not answer is bounded by askFrr. */
  async #look(): Promise<void> {
    const state = this.#state;
    if (this.#polling || !state) return;
    this.#polling = true;
    try {
      const ask = (program: 'zebra' | 'bgpd', command: string): Promise<unknown> =>
        askFrr(this.#home, this.#files, program, command).catch(() => undefined);
      const [summary, vnis] = await Promise.all([
        ask('bgpd', 'show bgp l2vpn evpn summary json'),
        ask('zebra', 'show evpn vni detail json'),
      ]);
      const lastResets = new Map<string, string>();
      const now = performance.now();
      for (const { address } of state.speaker.peers) {
        if (readPeer(summary, address)?.established) {
          this.#downSince.delete(address);
          continue;
        }
        if (!this.#downSince.has(address)) this.#downSince.set(address, now);
        const answer = summary === undefined ? undefined : await ask('bgpd', `show bgp neighbors ${address} json`);
        const peer = (answer as Record<string, Record<string, unknown> | undefined> | undefined)?.[address];
        const words = peer?.lastNotificationReason ?? peer?.lastResetDueTo;
        if (typeof words === 'string') lastResets.set(address, words);
      }
      for (const address of this.#downSince.keys())
        if (!state.speaker.peers.some((peer) => peer.address === address)) this.#downSince.delete(address);
      if (this.#state) this.#report = { summary, vnis, lastResets };
      if (this.#daemons.isUnknowing && Array.isArray(vnis) && vnis.length > 0) await this.#sync();
    } finally {
      this.#polling = false;
    }
  }

  /** Failing is no harm: the next look tries again. */
  async #sync(): Promise<void> {
    await this.#inTurn(async () => {
      if (!this.#state) return;
      await this.#changer.forgetFar();
      await this.#daemons.sync(this.#state.speaker);
    }).catch((error: unknown) =>
      this.#options.log.warn('zebra does not know yet what bgpd knows', { error: asWeirError(error).message }),
    );
  }

  #inTurn<T>(operation: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(operation).catch((error: unknown) => {
      throw asWeirError(error);
    });
    this.#turn = result.catch(() => {});
    return result;
  }
}

function describeEntries(state: FabricState, changes: EntryChanges): string[] {
  const places = placesOf(state);
  return state.vnis.flatMap(({ vni, network }) => {
    const place = places.get(vni);
    if (!place) return [];
    const ofPort = (list: EntryChanges['addMacs']): number =>
      list.filter(({ port, vlan }) => port === place.port && vlan === place.vlan).length;
    const ofLink = (list: EntryChanges['addNeighbours']): number =>
      list.filter(({ link }) => link === place.neighbourLink).length;
    const parts = [
      [ofPort(changes.addMacs), ofPort(changes.removeMacs), 'MACs'],
      [ofLink(changes.addNeighbours), ofLink(changes.removeNeighbours), 'addresses'],
    ] as const;
    const words = parts.flatMap(([more, less, what]) => [
      ...(more > 0 ? [`${more} ${what} more`] : []),
      ...(less > 0 ? [`${less} ${what} less`] : []),
    ]);
    return words.length > 0 ? [`announce in VNI ${vni} (${network}): ${words.join(', ')}`] : [];
  });
}
