// Brings the fabric's network namespace to a state: the namespace itself, its links, and what is announced. Reads what is, has
// the difference planned (fabric-links.ts, fabric-entries.ts, pure) and carries it out in a handful of processes however many
// decoys there are. FRR is fabric-daemons.ts; when to do what is fabric-controller.ts.

import { asWeirError, WeirError } from '../base/errors.ts';
import { applyEntries, readForwardingEntries, readNeighbourEntries, removeFarEntries } from '../kernel/bridge-entries.ts';
import { readBridgeLinks } from '../kernel/bridge-links.ts';
import { readBridgeVlans } from '../kernel/bridge-vlans.ts';
import { type CommandRunner, createCommandRunner } from '../kernel/command.ts';
import { NamespaceHandle } from '../kernel/namespace-handle.ts';
import { createNetns, deleteNetns, netnsExists, netnsPath } from '../kernel/netns.ts';
import { segmentAlias } from './desired-segment.ts';
import { segmentLink } from './desired-state.ts';
import { type EntryChanges, planEntryChanges } from './fabric-entries.ts';
import { entryHomes, fabricGroup, type LinkStep, type PresentFabric, placesOf, planFabricLinks } from './fabric-links.ts';
import { type FabricState, fabricNetns } from './fabric-state.ts';
import { planVlans } from './fabric-vlans.ts';

/** What was just made is read again; what a first pass had to take away, the next puts back. */
const maxPasses = 3;
/** The fabric forwards frames; it neither hears nor says anything itself. */
const silence = [
  'table bridge weir',
  'delete table bridge weir',
  'table bridge weir {',
  '  chain input { type filter hook input priority 0; policy drop; }',
  '  chain output { type filter hook output priority 0; policy drop; }',
  '}',
  '',
].join('\n');
const calmSysctls = [
  // No link-local addresses: nothing of the fabric itself may be seen in a segment.
  ['/proc/sys/net/ipv6/conf/default/addr_gen_mode', '1'],
  ['/proc/sys/net/ipv6/conf/default/accept_ra', '0'],
  ['/proc/sys/net/ipv6/conf/all/forwarding', '0'],
  ['/proc/sys/net/ipv4/ip_forward', '0'],
  ['/proc/sys/net/bridge/bridge-nf-call-iptables', '0'],
  ['/proc/sys/net/bridge/bridge-nf-call-ip6tables', '0'],
  ['/proc/sys/net/bridge/bridge-nf-call-arptables', '0'],
] as const;

const vlanStep: LinkStep = {
  network: '',
  change: 'change VLANs and VNIs on the single VXLAN device',
  repair: 'VLANs or VNIs on the single VXLAN device differed: put right',
  first: [],
  born: [],
  last: [],
};

/** Needs root. One method at a time. `home` runs in the machine's namespace. */
export class FabricChanger {
  readonly #home: CommandRunner;
  readonly #tag: string;
  #handle: NamespaceHandle | undefined;
  #silence: string | undefined;

  constructor(home: CommandRunner, tag: string) {
    this.#home = home;
    this.#tag = tag;
  }

  get exists(): boolean {
    return netnsExists(fabricNetns(this.#tag));
  }

  #inside(state: { readonly netns: string }): CommandRunner {
    return createCommandRunner(netnsPath(state.netns));
  }

  /** Links of the fabric, and which segments are joined to it. */
  async read(state: FabricState): Promise<PresentFabric> {
    const links = await readBridgeLinks(this.#inside(state));
    const segments = new Set<string>();
    const joined = new Set<string>();
    for (const { segmentNetns } of state.vnis) {
      if (!netnsExists(segmentNetns)) continue;
      segments.add(segmentNetns);
      const devices = (await createCommandRunner(netnsPath(segmentNetns)).readProc('/proc/net/dev')) ?? '';
      if (/^\s*lan:/m.test(devices)) joined.add(segmentNetns);
    }
    return { links, segments, joined };
  }

  /** The machine's own addresses towards peers of a family the VTEP is not of. */
  async sources(state: FabricState): Promise<string[]> {
    const sources: string[] = [];
    for (const { address, local } of state.speaker.peers) {
      if (address.includes(':') === local.includes(':')) continue;
      const { stdout } = await this.#home.run('ip', ['route', 'get', address], { anyCode: true });
      const source = / src (\S+)/.exec(stdout)?.[1];
      if (source && !sources.includes(source)) sources.push(source);
    }
    return sources;
  }

  /** True when it had to be made, or its name put back. */
  async ensureNamespace(state: FabricState): Promise<boolean> {
    const file = netnsPath(state.netns);
    if (this.#handle && !this.#handle.named) {
      this.#handle.restoreName();
      return true;
    }
    const fresh = !netnsExists(state.netns);
    if (fresh) await createNetns([state.netns]);
    // Also in one that is there already: whoever made it may not have come this far.
    if (!this.#handle) {
      const inside = this.#inside(state);
      for (const [key, value] of calmSysctls) if ((await inside.readProc(key)) !== undefined) await inside.writeProc(key, value);
      this.#handle = new NamespaceHandle(file);
    }
    return fresh;
  }

  /** True when the rules that keep the fabric from speaking were not as made here before. */
  async ensureSilence(state: FabricState): Promise<boolean> {
    const inside = this.#inside(state);
    const list = async (): Promise<string> =>
      (await inside.run('nft', ['-s', 'list', 'table', 'bridge', 'weir'], { anyCode: true })).stdout;
    const made = this.#silence;
    if (made !== undefined && (await list()) === made) return false;
    await inside.run('nft', ['-f', '-'], { input: silence });
    this.#silence = await list();
    return made !== undefined;
  }

  /** Returns what was not as it should be. */
  async ensureLinks(state: FabricState): Promise<LinkStep[]> {
    const inside = this.#inside(state);
    const sources = await this.sources(state);
    const done: LinkStep[] = [];
    for (let pass = 0; pass < maxPasses; pass += 1) {
      const present = await this.read(state);
      const steps = planFabricLinks(state, present, sources);
      const vlans = steps.length === 0 ? await this.#planVlans(state) : [];
      if (vlans.length > 0) steps.push(vlanStep);
      if (steps.length === 0) return done;
      done.push(...steps);
      try {
        await batch(
          inside,
          'ip',
          steps.flatMap(({ first }) => first),
        );
        await batch(
          this.#home,
          'ip',
          steps.flatMap(({ born }) => born),
        );
        await batch(
          inside,
          'ip',
          steps.flatMap(({ last }) => last),
        );
        await batch(inside, 'bridge', vlans.length > 0 ? vlans : await this.#planVlans(state));
      } catch (error) {
        throw explain(state, error);
      }
      const joinedNow = state.vnis.filter(
        ({ segmentNetns }) => present.segments.has(segmentNetns) && !present.joined.has(segmentNetns),
      );
      for (const { segmentNetns, network } of joinedNow)
        await createCommandRunner(netnsPath(segmentNetns)).run('ip', [
          // Whoever owns the segment takes it up, when it accepts no router's advertisements any more and its rules are there.
          ...['link', 'set', 'dev', segmentLink, 'alias', segmentAlias(state.tag, network)],
        ]);
    }
    throw new WeirError('fault', 'the links of the EVPN fabric do not stay as they were made', {
      steps: done.slice(-4).map(({ change }) => change),
    });
  }

  async #planVlans(state: FabricState): Promise<string[]> {
    return state.vnis.some(({ single }) => single) ? planVlans(state, await readBridgeVlans(this.#inside(state))) : [];
  }

  /**
   * Takes away what a routing daemon that is gone had learned: its successor knows nothing of it and would never take back
   * what was withdrawn meanwhile. Until it has learned anew, frames to far hosts are flooded to the VTEPs.
   */
  async forgetFar(): Promise<void> {
    await removeFarEntries(this.#inside({ netns: fabricNetns(this.#tag) }));
  }

  /** What of the announcements differs. */
  async entryChanges(state: FabricState): Promise<EntryChanges> {
    const inside = this.#inside(state);
    const present = { macs: await readForwardingEntries(inside), neighbours: await readNeighbourEntries(inside) };
    const bridges = new Map<string, string>();
    for (const { port, vxlan, bridge } of placesOf(state).values()) bridges.set(port, bridge).set(vxlan, bridge);
    return planEntryChanges(entryHomes(state), present, (port) => bridges.get(port) ?? port);
  }

  /** Returns what differed and has been put right, and what a far host has. */
  async ensureEntries(state: FabricState): Promise<EntryChanges> {
    const changes = await this.entryChanges(state);
    await applyEntries(this.#inside(state), changes);
    return changes;
  }

  async remove(): Promise<void> {
    this.close();
    const netns = fabricNetns(this.#tag);
    if (!netnsExists(netns)) {
      await deleteNetns([netns]);
      return;
    }
    // A namespace dies some time after its name; links go now, and with them the VNIs are free.
    await this.#inside({ netns }).run('ip', ['link', 'delete', 'group', String(fabricGroup)], { anyCode: true });
    await deleteNetns([netns]);
  }

  /** Lets go of the namespace, which stays. */
  close(): void {
    this.#handle?.close();
    this.#handle = undefined;
    this.#silence = undefined;
  }
}

async function batch(runner: CommandRunner, program: 'ip' | 'bridge', lines: readonly string[]): Promise<void> {
  if (lines.length === 0) return;
  await runner.run(program, ['-batch', '-'], { input: `${lines.join('\n')}\n`, timeoutMs: 60_000 });
}

function explain(state: FabricState, error: unknown): WeirError {
  const fault = asWeirError(error);
  const single = state.vnis.some((vni) => vni.single);
  if (single && /not supported|Unknown device type/.test(fault.message))
    return new WeirError(
      'kernel-missing',
      'this kernel cannot carry all VNIs on one VXLAN device (it lacks VLAN filtering in bridges, or 802.1Q): use `device: per-vni`',
      {},
      fault,
    );
  if (/File exists/.test(fault.message))
    return new WeirError(
      'kernel-refused',
      `a VXLAN device with one of these VNIs is on this machine already (${state.vnis
        .map(({ vni }) => vni)
        .slice(0, 20)
        .join(', ')}): remove it or choose another VNI`,
      fault.details as Record<string, unknown>,
      fault,
    );
  return fault;
}
