// Owns the services network in the kernel: the namespace weir-TAG.services with its devices, routes and rules, and the
// tables that lead bound decoys' frames there. What should be there is services-network.ts and services-ruleset.ts; here
// it is compared with what is, and every difference is one change that can be told, made, or made again.

import { WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type CommandRunner, createCommandRunner } from '../kernel/command.ts';
import { readNamespaceIdentity } from '../kernel/namespace-handle.ts';
import { NamespaceHolds } from '../kernel/namespace-holds.ts';
import { createNetns, deleteNetns, netnsExists, netnsPath } from '../kernel/netns.ts';
import { applyTransaction } from '../kernel/nft-apply.ts';
import { readNftGeneration } from '../kernel/nft-digest.ts';
import { readTableDigest } from '../kernel/nft-listing.ts';
import { renderRemoval, renderTables } from '../kernel/nft-render.ts';
import type { NftTable } from '../kernel/nft-ruleset.ts';
import { createTunnelLink } from '../kernel/segment-link.ts';
import {
  applyRouteTexts,
  applyRuleTexts,
  compareRouteTexts,
  describeRouteTexts,
  type MacvlanLink,
  type RouteText,
  readMacvlanLinks,
  readRouteTexts,
  readRuleTexts,
  readWays,
  renderRouteText,
} from '../kernel/services-namespace.ts';
import { readInterfaceIndex } from '../kernel/socket-place.ts';
import { readSysctl, writeSysctl } from '../kernel/sysctl.ts';
import { rangeSize } from '../model/address.ts';
import type { Annex, AnnexStatus, Repair } from './annex.ts';
import type { DesiredState } from './desired-state.ts';
import { planDialRules, wiredServices } from './dial-network.ts';
import { readServicesStatus } from './services-look.ts';
import {
  answersTable,
  planBoundDecoys,
  planKernelPathPorts,
  planServicesNetwork,
  type ServiceLeg,
  type ServicesNetwork,
  tunnelPaths,
  type WayBack,
} from './services-network.ts';
import { boundTableName, planBoundTable, planServicesTable, planShortcutTable } from './services-ruleset.ts';
import { planShortcuts } from './services-shortcut.ts';
import { legSysctls, namespaceSysctls, portSysctls } from './services-sysctls.ts';
import { findServices } from './services-whereabouts.ts';
import { describeServicesNetwork } from './services-words.ts';
import { describeTunnel, tunnelRule } from './tunnel-network.ts';

export interface ServicesControllerOptions {
  /** Distinguishes several Weirs on one machine; see DiversionController. */
  readonly tag: string;
  readonly log: Log;
  /** Path of the machine's own namespace; absent: the one this process is in. */
  readonly netns?: string;
}

/** One thing that is not as it should be, and what puts it right. */
interface Change {
  readonly object: Repair['object'];
  readonly network: string;
  /** `route 10.0.0.0/12 via 10.1.0.9`; `add`, `remove` and so on are in `line`. */
  readonly line: string;
  readonly make: () => Promise<void>;
  /** Not damage, but something learned since. */
  readonly learned?: boolean;
}

type Links = ReadonlyMap<string, MacvlanLink>;

/** Where a network is, and what tells that its rules are as we left them. */
interface Place {
  readonly network: string;
  readonly netns: string | undefined;
}

const localRule = 'pref 32000 lookup 255';
/** Ways of the machine's own interfaces to attackers that are copied; more are a router's, and its default route serves. */
const maxHomeWays = 256;
const maxUntold = 64;
/** How long an apply waits for services to say where they are. */
const firstAskMs = 200;

/** Needs root. */
export class ServicesController implements Annex {
  readonly name = 'services';
  /** The namespace's name below /run/netns. */
  readonly netns: string;
  readonly #options: ServicesControllerOptions;
  readonly #home: CommandRunner;
  #desired: DesiredState | undefined;
  #network: ServicesNetwork | undefined;
  /** Namespaces in which our table may be. */
  #places: readonly Place[] = [];
  /** By place and table: the text as applied, and the kernel's listing of it right after. */
  readonly #applied = new Map<string, { text: string; listing: string; moment: string }>();
  /** As last looked at. */
  #reasons: readonly string[] = [];
  /** Sockets of the gateway keep a namespace alive without its name, and its devices with it: then the name is put back. */
  readonly #holds = new NamespaceHolds();
  /** Repairs done, also those before one that failed: told at the end of the next look that goes well. */
  readonly #untold: Repair[] = [];
  #lines: readonly string[] = [];
  /** MACs of services by address, as the kernel knew them last. */
  #whereabouts: ReadonlyMap<string, string> = new Map();

  constructor(options: ServicesControllerOptions) {
    this.#options = options;
    this.#home = createCommandRunner(options.netns);
    this.netns = `weir-${options.tag}.services`;
  }

  /** Path of the services namespace. */
  get path(): string {
    return netnsPath(this.netns);
  }

  get namespace(): string | undefined {
    return this.#network ? this.path : undefined;
  }

  /** As last applied: ports tell which mark is which network. Undefined when no decoy is bound. */
  get network(): ServicesNetwork | undefined {
    return this.#network;
  }

  /** Which mark is which network, and who answers there, as last applied. */
  get kernelPath(): ReturnType<typeof planKernelPathPorts> {
    return this.#desired ? planKernelPathPorts(this.#network, this.#desired) : [];
  }

  async difference(desired: DesiredState | undefined): Promise<readonly string[]> {
    const lines = (await this.#changes(desired)).map(({ line }) => line);
    if (netnsExists(this.netns)) return lines;
    // What comes once the namespace is there.
    const wanted = planServicesNetwork(desired, this.#options.tag, new Map());
    return [...lines, ...describeServicesNetwork(wanted)];
  }

  async apply(desired: DesiredState | undefined): Promise<void> {
    // Each pass makes what the one before made possible; the last finds nothing to do.
    for (let pass = 0; pass < 8; pass += 1) {
      const changes = await this.#changes(desired);
      for (const { make } of changes) await make();
      if (changes.length > 0) continue;
      const found = this.#whereabouts;
      await this.#findServices(desired, firstAskMs);
      if (found === this.#whereabouts) break;
    }
    const left = await this.#changes(desired);
    if (left.length > 0)
      throw new WeirError('kernel-refused', `the services network is not as wanted: ${left[0].line}`, {
        left: left.slice(0, 20).map(({ line }) => line),
      });
    this.#desired = desired;
    this.#network = planServicesNetwork(desired, this.#options.tag, await this.#homeWays(desired));
    this.#places = placesOf(this.#network);
    this.#holds.keep(this.#network ? [this.path] : []);
  }

  async repair(): Promise<readonly Repair[]> {
    if (!this.#network) return [];
    await this.#findServices(this.#desired, 0);
    for (let pass = 0; pass < 4; pass += 1) {
      const changes = await this.#changes(this.#desired);
      if (changes.length === 0) break;
      for (const { object, network, line, make, learned } of changes) {
        await make();
        if (!learned && this.#untold.length < maxUntold) this.#untold.push({ network, object, message: `services: ${line}` });
      }
    }
    this.#holds.keep([this.path]);
    await this.#look();
    return this.#untold.splice(0);
  }

  status(): AnnexStatus {
    if (!this.#network || !this.#desired) return { reasons: [], lines: [] };
    return {
      reasons: this.#reasons,
      lines: [
        ...planBoundDecoys(this.#desired).map(
          ({ diversion, service, ranges }) =>
            `${diversion}: ${ranges.reduce((sum, range) => sum + rangeSize(range), 0n)} addresses by kernel path to ${service}`,
        ),
        ...this.#lines,
      ],
    };
  }

  async close(): Promise<void> {
    this.#holds.close();
  }

  async #findServices(desired: DesiredState | undefined, waitMs: number): Promise<void> {
    const wanted = planServicesNetwork(desired, this.#options.tag, new Map());
    if (wanted && netnsExists(this.netns)) this.#whereabouts = await findServices(this.path, wanted, this.#whereabouts, waitMs);
  }

  async #look(): Promise<void> {
    const { reasons, lines } = await readServicesStatus(wiredServices(this.#desired), createCommandRunner(this.path), this.#home);
    this.#reasons = reasons;
    this.#lines = lines;
  }

  async #homeWays(desired: DesiredState | undefined): Promise<Map<string, WayBack[]>> {
    const ways = new Map<string, WayBack[]>();
    const names = new Set((desired?.bindings ?? []).map(({ diversion }) => desired?.interfaces[diversion]));
    for (const name of names) {
      if (name === undefined) continue;
      ways.set(name, await readWays(this.#home, name, maxHomeWays));
    }
    return ways;
  }

  async #changes(desired: DesiredState | undefined): Promise<Change[]> {
    const wanted = planServicesNetwork(desired, this.#options.tag, await this.#homeWays(desired));
    const wantedPlaces = placesOf(wanted);
    const gone = [...this.#places, { network: '', netns: undefined }].filter(
      ({ network }) => !wantedPlaces.some((place) => place.network === network),
    );
    // Frames are led away last, and let go of first.
    const removals = (await Promise.all(gone.map((place) => this.#tableChange(place, undefined)))).flat();
    if (this.#holds.isLost(this.path)) return [...removals, this.#nameComesBack()];
    if (!wanted) return [...removals, ...this.#namespaceGoes()];
    if (!netnsExists(this.netns)) return [...removals, this.#namespaceComes()];
    const runner = createCommandRunner(this.path);
    const inner = { network: '', netns: this.path };
    const table = await this.#tableChange(inner, planServicesTable(wanted));
    const there = new Map((await readMacvlanLinks(runner)).map((link): [string, MacvlanLink] => [link.name, link]));
    const shortcuts = planShortcuts(
      wanted,
      (link) => there.get(link)?.mtu,
      (address) => this.#whereabouts.get(address),
    );
    const links = this.#linkChanges(runner, wanted, there);
    const inside = links.length > 0 ? [] : await this.#routeChanges(runner, wanted, there);
    const leads: Change[] = [];
    for (const place of wantedPlaces)
      leads.push(
        ...(await this.#tableChange(
          place,
          planBoundTable(
            wanted.ports.filter(({ network }) => network === place.network),
            shortcuts,
          ),
        )),
      );
    if (links.length === 0) leads.push(...(await this.#tableChange(inner, planShortcutTable(wanted, shortcuts))));
    const missing = [...links, ...inside].some(({ object }) => object === 'link');
    return [
      ...removals,
      ...(await this.#sysctlChanges(runner, wanted, there)),
      ...table,
      ...links,
      ...inside,
      ...(missing ? [] : leads),
    ];
  }

  #namespaceGoes(): Change[] {
    if (!netnsExists(this.netns)) return [];
    return [
      {
        object: 'netns',
        network: '',
        line: `remove network namespace ${this.netns}`,
        make: async () => {
          // A device lives on for a while after its namespace's name is gone: these go at once.
          const runner = createCommandRunner(this.path);
          const links = await readMacvlanLinks(runner);
          if (links.length > 0)
            await runner.run('ip', ['-batch', '-'], { input: links.map(({ name }) => `link del ${name}\n`).join('') });
          this.#holds.release(this.path);
          await deleteNetns([this.netns]);
          for (const family of ['inet', 'netdev']) this.#applied.delete(`${keyOf(this.path)} ${family}`);
        },
      },
    ];
  }

  #nameComesBack(): Change {
    const line = `put the name of network namespace ${this.netns} back`;
    return { object: 'netns', network: '', line, make: async () => this.#holds.restore(this.path) };
  }

  #namespaceComes(): Change {
    return {
      object: 'netns',
      network: '',
      line: `create network namespace ${this.netns}`,
      make: async () => {
        await createNetns([this.netns]);
        await createCommandRunner(this.path).run('ip', ['link', 'set', 'lo', 'up']);
      },
    };
  }

  async #sysctlChanges(runner: CommandRunner, wanted: ServicesNetwork, links: Links): Promise<Change[]> {
    const keys = [
      ...namespaceSysctls,
      ...wanted.ports.filter(({ link }) => links.has(link)).flatMap(({ link }) => portSysctls(link)),
      ...wanted.legs.filter(({ link }) => links.has(link)).flatMap(({ link }) => legSysctls(link)),
    ];
    const changes: Change[] = [];
    for (const [key, value] of keys) {
      const now = await readSysctl(runner, key);
      if (now === undefined || now === value) continue;
      const line = `set ${key} of ${this.netns} from ${now} to ${value}`;
      changes.push({ object: 'sysctl', network: '', line, make: () => writeSysctl(runner, key, value) });
    }
    return changes;
  }

  #linkChanges(runner: CommandRunner, wanted: ServicesNetwork, there: Links): Change[] {
    const devices: (Pick<ServiceLeg, 'link' | 'mac' | 'tunnel'> & { lower: string; netns?: string; network: string })[] = [
      ...wanted.ports.map(({ link, mac, lower, netns, network }) => ({ link, mac, lower, network, ...(netns ? { netns } : {}) })),
      ...wanted.legs.map((leg) => ({ ...leg, lower: leg.interface, network: '' })),
    ];
    const changes: Change[] = [];
    for (const name of there.keys())
      if (!devices.some(({ link }) => link === name))
        changes.push({
          object: 'link',
          network: '',
          line: `remove link ${name} of ${this.netns}`,
          make: async () => void (await runner.run('ip', ['link', 'del', name])),
        });
    for (const { link, mac, lower, netns, network, tunnel } of devices) {
      const now = there.get(link);
      if (now && now.mac === mac) {
        if (!now.up) changes.push(this.#linkUp(runner, link, network));
        continue;
      }
      changes.push({
        object: 'link',
        network,
        line: tunnel
          ? `create link ${link} in ${this.netns}, ${describeTunnel(tunnel)}`
          : `create link ${link} in ${this.netns}, a macvlan on ${lower}${network === '' ? '' : ` of ${network}`}`,
        make: async () => {
          if (now) await runner.run('ip', ['link', 'del', link]);
          if (tunnel) {
            createTunnelLink(this.#options.netns, {
              netns: this.path,
              name: link,
              mac,
              alias: `weir:${this.#options.tag}`,
              ...tunnel,
            });
            return;
          }
          const below = netns === undefined ? this.#home : createCommandRunner(netns);
          await below.run('ip', [
            ...['link', 'add', 'link', lower, 'name', link, 'netns', this.netns, 'address', mac],
            ...['type', 'macvlan', 'mode', 'bridge'],
          ]);
        },
      });
    }
    return changes;
  }

  #linkUp(runner: CommandRunner, link: string, network: string): Change {
    return {
      object: 'link',
      network,
      line: `bring link ${link} of ${this.netns} up`,
      make: async () => {
        for (const [key, value] of link.startsWith('leg') ? legSysctls(link) : portSysctls(link))
          await writeSysctl(runner, key, value);
        await runner.run('ip', ['link', 'set', link, 'up']);
      },
    };
  }

  async #routeChanges(runner: CommandRunner, wanted: ServicesNetwork, there: Links): Promise<Change[]> {
    const changes: Change[] = [];
    for (const { link, addresses } of wanted.legs) {
      const now = there.get(link)?.addresses ?? [];
      const lines = [
        ...addresses
          .filter((one) => !now.includes(one))
          .map((one) => `addr add ${one} dev ${link}${one.includes(':') ? ' nodad' : ''}`),
        ...now.filter((one) => !addresses.includes(one)).map((one) => `addr del ${one} dev ${link}`),
      ];
      for (const line of lines)
        changes.push({
          object: 'address',
          network: '',
          line: `${line} in ${this.netns}`,
          make: async () => void (await runner.run('ip', line.split(' '))),
        });
    }
    const routes = wanted.routes.map((route) => ({ family: route.family, text: renderRouteText(route) }));
    const routed = compareRouteTexts(routes, await readRouteTexts(runner));
    if (routed.add.length + routed.remove.length > 0)
      changes.push({
        object: 'route',
        network: '',
        line: `${describeRouteTexts('route', routed)} in ${this.netns}`,
        make: () => applyRouteTexts(runner, routed.add, routed.remove),
      });
    const rules = ([4, 6] as const).flatMap((family): RouteText[] => [
      { family, text: localRule },
      ...planDialRules(wanted.dials).filter((rule) => rule.family === family),
      ...tunnelPaths(wanted).map((path) => ({ family, text: tunnelRule(path, answersTable(path.number)) })),
      ...wanted.ports.flatMap(({ link, number }) => [
        { family, text: `pref 1000 iif ${link} lookup ${number}` },
        { family, text: `pref 2000 fwmark ${number} lookup ${answersTable(number)}` },
      ]),
    ]);
    const present = (await readRuleTexts(runner)).filter(({ text }) => !/^pref 3276[67] /.test(text));
    const ruled = compareRouteTexts(rules, present);
    if (ruled.add.length + ruled.remove.length > 0)
      changes.push({
        object: 'route',
        network: '',
        line: `${describeRouteTexts('routing rule', ruled)} in ${this.netns}`,
        make: () => applyRuleTexts(runner, ruled.add, ruled.remove),
      });
    return changes;
  }

  /** Our one table in the namespace at `place`; without `table` it goes. */
  async #tableChange({ network, netns }: Place, table: NftTable | undefined): Promise<Change[]> {
    if (netns !== undefined && readNamespaceIdentity(netns) === undefined) return [];
    const runner = netns === undefined ? this.#home : createCommandRunner(netns);
    const name = table ?? { family: 'netdev' as const, name: boundTableName };
    const list = (): Promise<string> => readTableDigest(runner, table ?? { ...name, sets: [] });
    const key = `${keyOf(netns)} ${name.family}`;
    const known = this.#applied.get(key);
    const text = table && renderTables([table]);
    // As long as nobody changed any rule there it is as it was, and no program is asked.
    const moment = momentOf(runner.netns, table);
    if (known && known.text === (text ?? '') && known.moment === moment) return [];
    const listing = await list();
    const where = netns === this.path ? ` in ${this.netns}` : network === '' ? '' : ` in ${network}`;
    if (!table || text === undefined) {
      if (listing === '') {
        this.#applied.set(key, { text: '', moment, listing });
        return [];
      }
      const make = async (): Promise<void> => {
        await applyTransaction(runner, renderRemoval([name]));
        this.#applied.delete(key);
      };
      return [{ object: 'table', network, line: `remove nft table ${name.family} ${name.name}${where}`, make }];
    }
    if (listing !== '' && known?.listing === listing && known.text === text) {
      known.moment = moment;
      return [];
    }
    const verb = listing === '' ? 'create' : known?.text === text ? 'put back' : 'replace';
    const make = async (): Promise<void> => {
      await applyTransaction(runner, renderRemoval([table]) + text);
      this.#applied.set(key, { text, moment: momentOf(runner.netns, table), listing: await list() });
    };
    const learned = known !== undefined && known.text !== text;
    return [{ object: 'table', network, line: `${verb} nft table ${table.family} ${table.name}${where}`, make, learned }];
  }
}

/** A chain goes with its device, and no generation of the ruleset tells. */
function momentOf(netns: string | undefined, table: NftTable | undefined): string {
  const devices = (table?.chains ?? []).flatMap(({ hook }) => hook?.device ?? []);
  const indexes = devices.map((device) => readInterfaceIndex(device, netns));
  return [netns && readNamespaceIdentity(netns), readNftGeneration(netns).generation, ...indexes].join(' ');
}

const keyOf = (netns: string | undefined): string => netns ?? '';

const placesOf = (network: ServicesNetwork | undefined): Place[] => [
  ...new Map(
    (network?.ports ?? []).map(({ network: name, netns }): [string, Place] => [name, { network: name, netns }]),
  ).values(),
];
