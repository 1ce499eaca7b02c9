// Two VTEPs in namespaces: the machine of the test (underlay, segments, fabric) and a far end that is plain FRR, bridge and
// VXLAN as an administrator would set it up, with one host behind it. `end` removes all of it and fails when anything is left.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { silentLog } from '../../src/base/log.ts';
import { type FrrDaemon, findFrrDaemons, frrFiles, stopFrrDaemon } from '../../src/kernel/frr-daemon.ts';
import { createNetns, deleteNetns, listNetns } from '../../src/kernel/netns.ts';
import { type Address, type AddressRange, parseAddress } from '../../src/model/address.ts';
import type { NetworkDiversion } from '../../src/model/configuration.ts';
import type { DesiredState, SegmentState } from '../../src/plan/desired-state.ts';
import { FabricController, type FabricControllerOptions } from '../../src/plan/fabric-controller.ts';
import { FarVtep } from './far-vtep.ts';
import { goldenPersonas, group } from './golden-states.ts';
import { type NamespaceLab, runCommand, type TestNamespace } from './namespace.ts';

export const addressOf = (text: string): Address => parseAddress(text) as Address;

export interface BedSegment {
  readonly name: string;
  readonly vni: number;
  readonly address: string;
  /** Ranges of decoys, all of them living. */
  readonly decoys: readonly string[];
  readonly device?: 'per-vni' | 'single';
}

export interface BedSpeaker {
  readonly asn: number;
  readonly peer: string;
  readonly peerAsn: number;
}

const usualSpeaker: BedSpeaker = { asn: 65001, peer: '10.50.0.2', peerAsn: 65002 };

/** VTEPs 10.50.0.1 (ours) and 10.50.0.2 (far) on one wire, which is IPv6 too. */
export class FabricBed {
  readonly tag: string;
  readonly machine: TestNamespace;
  readonly far: TestNamespace;
  /** Behind the far VTEP. */
  readonly host: TestNamespace;
  /** Another, for a second VNI with the same addresses. */
  readonly secondHost: TestNamespace;
  /** Answers `withheld` of a controller; a test sets it. */
  withheld: (network: string) => readonly AddressRange[] = () => [];
  /** How often the controller was told that something changed. */
  changes = 0;
  readonly #vtep: FarVtep;
  readonly #controllers: FabricController[] = [];

  private constructor(spaces: Record<'machine' | 'far' | 'host' | 'secondHost', TestNamespace>, tag: string) {
    this.machine = spaces.machine;
    this.far = spaces.far;
    this.host = spaces.host;
    this.secondHost = spaces.secondHost;
    this.tag = tag;
    this.#vtep = new FarVtep(spaces.far, '10.50.0.2', '10.50.0.1');
  }

  static async open(lab: NamespaceLab): Promise<FabricBed> {
    const machine = await lab.namespace('m');
    const far = await lab.namespace('r');
    const host = await lab.namespace('h');
    const secondHost = await lab.namespace('h2');
    await lab.join(
      { namespace: machine, link: 'under', addresses: ['10.50.0.1/24', 'fd50::1/64'] },
      { namespace: far, link: 'under', addresses: ['10.50.0.2/24', 'fd50::2/64'] },
    );
    const tag = Buffer.from(lab.prefix).toString('hex').slice(-12);
    return new FabricBed({ machine, far, host, secondHost }, tag);
  }

  controller(options: Partial<FabricControllerOptions> = {}): FabricController {
    const controller = new FabricController({
      tag: this.tag,
      log: silentLog,
      netns: this.machine.path,
      onChange: () => {
        this.changes += 1;
      },
      pollMs: 200,
      ...options,
    });
    this.#controllers.push(controller);
    return controller;
  }

  segmentNetns(name: string): string {
    return `weir-${this.tag}-${name}`;
  }

  desired(segments: readonly BedSegment[], speaker: BedSpeaker = usualSpeaker): DesiredState {
    return {
      ...emptyNetwork,
      services: [],
      bindings: [],
      segments: segments.map((segment): SegmentState => {
        const attachment: NetworkDiversion['attachment'] = {
          kind: 'vxlan',
          vni: segment.vni,
          local: addressOf('10.50.0.1'),
          port: 4789,
          remotes: [],
          evpn: { asn: speaker.asn, peers: [{ address: addressOf(speaker.peer), asn: speaker.peerAsn }] },
          device: segment.device ?? 'per-vni',
        };
        const [address, prefixLength] = segment.address.split('/');
        return {
          name: segment.name,
          netns: this.segmentNetns(segment.name),
          attachment,
          addresses: [{ address: addressOf(address), prefixLength: Number(prefixLength) }],
          gateways: [],
          mtu: 1450,
          inside: {
            ...emptyNetwork,
            groups: [group(segment.name, 'claimed', segment.decoys, [{ persona: 'all-open', share: 10_000 }])],
            personas: [goldenPersonas['all-open']],
          },
        };
      }),
    };
  }

  /** Namespaces of segments, as the controller of diversions makes them before any annex. */
  makeSegments(names: readonly string[]): Promise<void> {
    return createNetns(names.map((name) => this.segmentNetns(name)));
  }

  /** Decoys of a segment answer by the kernel alone: AnyIP, and any MAC is ours. */
  async furnish(segment: BedSegment): Promise<void> {
    const inside = ['nsenter', `--net=/run/netns/${this.segmentNetns(segment.name)}`, '--'];
    const routes = segment.decoys.map((range) => `route replace local ${range} dev lo\n`).join('');
    await runCommand([...inside, 'ip', '-batch', '-'], {
      input: `link set lo up\nlink set lan up promisc on\naddr replace ${segment.address} dev lan\n${routes}`,
    });
    await runCommand([...inside, 'nft', '-f', '-'], {
      input:
        'table netdev any\ndelete table netdev any\ntable netdev any { chain in { type filter hook ingress device lan priority 0; meta pkttype set host; }; }\n',
    });
  }

  /** The far end's devices of a VNI with a host on it, and its FRR if it does not run yet. */
  async openFar(vni: number, hostAddress: string, speaker: BedSpeaker = usualSpeaker, host = this.host): Promise<void> {
    await this.joinFar(vni, hostAddress, host);
    if (!this.#vtep.running) await this.startFar(speaker);
  }

  joinFar(vni: number, hostAddress: string, host = this.host): Promise<void> {
    return this.#vtep.join(vni, hostAddress, host);
  }

  startFar({ asn, peer, peerAsn }: BedSpeaker = usualSpeaker): Promise<void> {
    return this.#vtep.start({ asn, ownAsn: peerAsn, neighbour: peer.includes(':') ? 'fd50::1' : '10.50.0.1' });
  }

  stopFar(): Promise<void> {
    return this.#vtep.stop();
  }

  farKnows(vni: number): Promise<{ macs: string[]; addresses: string[] }> {
    return this.#vtep.knows(vni);
  }

  daemonsOfOurs(): FrrDaemon[] {
    const { zserv } = frrFiles(`/run/weir-${this.tag}.fabric`);
    return [...findFrrDaemons('zebra', zserv), ...findFrrDaemons('bgpd', zserv)];
  }

  async ping(address: string, count = 2, from = this.host): Promise<boolean> {
    const { code } = await from.run(['ping', '-n', '-c', String(count), '-i', '0.2', '-W', '1', address], { anyCode: true });
    return code === 0;
  }

  async end(): Promise<void> {
    for (const controller of this.#controllers) await controller.close();
    await this.#controllers.at(-1)?.apply(undefined);
    await this.#controllers.at(-1)?.close();
    await this.#vtep.end();
    const left = this.daemonsOfOurs();
    for (const daemon of left) await stopFrrDaemon(daemon);
    await deleteNetns(listNetns(`weir-${this.tag}-`));
    assert.deepEqual(left, [], 'FRR was left running');
    assert.deepEqual(listNetns(`weir-${this.tag}`), [], 'namespaces were left');
    assert.equal(existsSync(`/run/weir-${this.tag}.fabric`), false, 'files were left');
  }
}

const emptyNetwork = {
  groups: [],
  personas: [],
  guards: { ports: [], sources: [], resolvers: [] },
  ports: { tcp: 1, udp: 1 },
  tracking: false,
  manyLinks: false,
  interfaces: {},
  macLinks: [],
  sysctls: [],
  live: [],
} as const;
