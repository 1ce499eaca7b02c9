// Diversions of kind `network`: their keys together, and against each other. Values one by one are network-forms.ts,
// their decoys decoy-groups.ts; what needs the running machine (does the trunk exist?) is plan/guard-network.ts.

import type { z } from 'zod';
import { type Address, type AddressRange, rangeHolds, rangesOverlap, renderAddress, renderRange } from '../model/address.ts';
import type {
  EvpnSettings,
  InterfaceAddress,
  NetworkDiversion,
  VlanAttachment,
  VxlanAttachment,
} from '../model/configuration.ts';
import { edgesOfSubnet, isLinkLocal, renderInterfaceAddress, reservedInSegment, subnetOf } from '../model/segment.ts';
import type { DecoyGathering, SegmentBounds } from './decoy-groups.ts';
import type { Mistakes } from './issues.ts';
import { networkDiversion, vxlanSettings } from './network-schema.ts';
import { isMapping } from './personas.ts';
import { decoyEntry } from './schema.ts';

type Path = readonly PropertyKey[];

/** Every key of a mapping that parses by itself; so that what is right is checked also where something else is wrong. */
function readKeys<S extends z.ZodObject>(schema: S, value: Readonly<Record<string, unknown>>): Partial<z.output<S>> {
  const read: Record<string, unknown> = {};
  for (const [key, inner] of Object.entries(schema.shape)) {
    // Ten thousands of decoys are not read twice.
    if (key === 'decoys') continue;
    const parsed = (inner as z.ZodType).safeParse(value[key]);
    if (parsed.success && parsed.data !== undefined) read[key] = parsed.data;
  }
  return read as Partial<z.output<S>>;
}

/** What the first said that all others have to say as well. */
interface Said {
  readonly text: string;
  readonly line: number;
}

const equal = (a: Address, b: Address): boolean => a.family === b.family && a.value === b.value;

/** Reads the network diversions of one file in their order. */
export class NetworkReading {
  readonly #gathering: DecoyGathering;
  readonly #mistakes: Mistakes;
  readonly #file: string;
  readonly #attachments = new Map<string, number>();
  readonly #devices = new Map<string, Said>();
  /** Of the BGP speaker. */
  readonly #said = new Map<string, Said>();

  constructor(gathering: DecoyGathering, mistakes: Mistakes, file: string) {
    this.#gathering = gathering;
    this.#mistakes = mistakes;
    this.#file = file;
  }

  /** `space` names the address space of its decoys. Undefined when there is a mistake that leaves nothing to go on with. */
  read(value: Readonly<Record<string, unknown>>, space: string, at: Path): NetworkDiversion | undefined {
    const whole = networkDiversion.safeParse(value);
    if (!whole.success) this.#mistakes.addIssues(whole.error, networkDiversion, at);
    const keys = readKeys(networkDiversion, value);
    const attachment = this.#attachment(value, keys, at);
    const addresses = keys.address ?? [];
    const many = Array.isArray(value.address);
    const subnets = addresses.map((one, index) =>
      this.#subnet(one, addresses.slice(0, index), [...at, 'address', ...(many ? [index] : [])]),
    );
    const gateways = keys.gateway ?? [];
    if (keys.address) this.#checkGateways(gateways, addresses, subnets, [...at, 'gateway'], Array.isArray(value.gateway));
    if (keys.mtu !== undefined && keys.mtu < 1280 && addresses.some(({ address }) => address.family === 6))
      this.#mistakes.add(
        [...at, 'mtu'],
        `IPv6 does not work with an MTU of ${keys.mtu}`,
        'write 1280 or more (RFC 8200, section 5)',
      );
    const written = Array.isArray(value.decoys) ? value.decoys : [];
    if (whole.success && written.length === 0)
      this.#mistakes.add(
        [...at, 'decoys'],
        'this diversion has no decoys',
        'add an entry with `addresses:` and `persona:`, or remove it',
      );
    const bounds: SegmentBounds | undefined = keys.address && { subnets, reserved: reservedInSegment({ addresses, gateways }) };
    const groups = this.#gathering.groupsOf(
      {
        name: keys.name ?? 'unknown',
        network: space,
        ...(bounds ? { bounds } : {}),
        decoys: whole.success ? whole.data.decoys : written.map((entry) => decoyEntry.safeParse(entry).data),
      },
      at,
    );
    if (!whole.success || !attachment) return undefined;
    return {
      kind: 'network',
      name: whole.data.name,
      attachment: Object.freeze(attachment),
      addresses: Object.freeze(addresses),
      gateways: Object.freeze(gateways),
      ...(keys.mtu === undefined ? {} : { mtu: keys.mtu }),
      groups: Object.freeze(groups),
      place: { file: this.#file, line: this.#mistakes.lineOf(at) },
    };
  }

  #subnet(one: InterfaceAddress, before: readonly InterfaceAddress[], at: Path): AddressRange {
    const subnet = subnetOf(one);
    const other = before.find((earlier) => rangesOverlap(subnetOf(earlier), subnet));
    if (other)
      this.#mistakes.add(
        at,
        `the subnets of ${renderInterfaceAddress(other)} and ${renderInterfaceAddress(one)} overlap`,
        'write one address for each subnet of the segment; another segment may use the same addresses',
      );
    const edge = edgesOfSubnet(subnet).find(({ address }) => equal(address, one.address));
    if (edge)
      this.#mistakes.add(
        at,
        `${renderInterfaceAddress(one)} is ${edge.what} of its subnet`,
        'write an address that a host may have',
      );
    return subnet;
  }

  #checkGateways(
    gateways: readonly Address[],
    addresses: readonly InterfaceAddress[],
    subnets: readonly AddressRange[],
    at: Path,
    many: boolean,
  ): void {
    for (const [index, gateway] of gateways.entries()) {
      const path = many ? [...at, index] : at;
      const text = renderAddress(gateway);
      const before = gateways.slice(0, index).find(({ family }) => family === gateway.family);
      const sameFamily = subnets.some(({ family }) => family === gateway.family);
      if (before)
        this.#mistakes.add(
          path,
          `${renderAddress(before)} and ${text} are both gateways of IPv${gateway.family}`,
          'keep one of each family',
        );
      else if (addresses.some(({ address }) => equal(address, gateway)))
        this.#mistakes.add(
          path,
          `the gateway ${text} is Weir's own address`,
          "write the router's address, or leave `gateway` out",
        );
      else if (!subnets.some((subnet) => rangeHolds(subnet, gateway)) && !(sameFamily && isLinkLocal(gateway)))
        this.#mistakes.add(
          path,
          `the gateway ${text} lies outside the segment, which is ${subnets.map(renderRange).join(', ')}`,
          'correct it, or add an `address:` in its subnet',
        );
      else if (
        gateway.family === 4 &&
        subnets.some(
          (subnet) => rangeHolds(subnet, gateway) && edgesOfSubnet(subnet).some(({ address }) => equal(address, gateway)),
        )
      )
        this.#mistakes.add(path, `no host can have ${text}: it is at the edge of its subnet`, "write the router's address");
    }
  }

  #attachment(
    value: Readonly<Record<string, unknown>>,
    keys: Partial<z.output<typeof networkDiversion>>,
    at: Path,
  ): VlanAttachment | VxlanAttachment | undefined {
    const has = (key: string): boolean => value[key] !== undefined;
    if (has('vlan') && has('vxlan'))
      this.#mistakes.add([...at, 'vxlan'], '`vlan` and `vxlan` both stand here', 'keep one: a segment comes in one way');
    else if (has('trunk') && has('vxlan'))
      this.#mistakes.add(
        [...at, 'trunk'],
        '`trunk` does not go with `vxlan`',
        'leave it out: the VTEP is the address in `local`',
      );
    else if (has('vxlan')) return isMapping(value.vxlan) ? this.#vxlan(value.vxlan, [...at, 'vxlan']) : undefined;
    else if (has('vlan') && !has('trunk'))
      this.#mistakes.add(at, '`trunk` is missing', 'add `trunk:` with the interface on which VLAN frames arrive');
    else if (has('trunk') && !has('vlan'))
      this.#mistakes.add(at, '`vlan` is missing', 'add `vlan:` with a number from 1 to 4094');
    else if (!has('vlan'))
      this.#mistakes.add(
        at,
        'neither `vlan` nor `vxlan` says where this segment comes in',
        'add `trunk: eth1` and `vlan: 110`, or `vxlan: { vni: 10, local: 10.0.0.1, remotes: [10.0.0.2] }`',
      );
    const { trunk, vlan } = keys;
    if (trunk === undefined || vlan === undefined || has('vxlan')) return undefined;
    this.#take(
      `vlan ${vlan} ${trunk}`,
      `VLAN ${vlan} of ${trunk}`,
      'a VLAN is one segment: put its subnets and decoys into one',
      [...at, 'vlan'],
    );
    return { kind: 'vlan', trunk, vlan };
  }

  /** Whether nobody had it. */
  #take(key: string, what: string, next: string, at: Path): boolean {
    const line = this.#mistakes.lineOf(at);
    const before = this.#attachments.get(key);
    if (before === undefined) this.#attachments.set(key, line);
    else this.#mistakes.add(at, `${what} stands here and on line ${before}`, next);
    return before === undefined;
  }

  #vxlan(value: Readonly<Record<string, unknown>>, at: Path): VxlanAttachment | undefined {
    const keys = readKeys(vxlanSettings, value);
    const has = (key: string): boolean => value[key] !== undefined;
    const { vni, local, remotes = [], device = 'per-vni', port = 4789 } = keys;
    if (has('remotes') && has('evpn'))
      this.#mistakes.add([...at, 'evpn'], '`remotes` and `evpn` both stand here', 'keep one: EVPN learns the other VTEPs');
    else if (!has('remotes') && !has('evpn'))
      this.#mistakes.add(
        at,
        'neither `remotes` nor `evpn` says who is at the other end',
        'add `remotes:` with the addresses of the other VTEPs, or `evpn: { asn: 65001, peers: [10.0.0.254] }`',
      );
    if (device === 'single' && !has('evpn'))
      this.#mistakes.add([...at, 'device'], '`device: single` does not go without `evpn`', 'leave `device` out');
    if (local) this.#checkFarEnds(local, remotes, 'the VTEP', [...at, 'remotes'], Array.isArray(value.remotes));
    const free =
      vni === undefined ||
      // Linux holds a VNI once for each port and family, whatever the local address: vxlan_vni_in_use() in vxlan_core.c.
      this.#take(
        `vni ${vni} ${port} ${local?.family ?? 4}`,
        `VNI ${vni} on port ${port}`,
        'give one of them another VNI or another `port`',
        [...at, 'vni'],
      );
    if (vni === undefined || !local) return undefined;
    const written = keys.evpn;
    const evpn: EvpnSettings | undefined = written && {
      asn: written.asn,
      peers: written.peers,
      ...(written['router-id'] ? { routerId: written['router-id'] } : {}),
    };
    this.#checkPort({ local, port, device }, at);
    if (evpn) this.#checkSpeaker(evpn, local, at);
    if (evpn && free)
      this.#take(`evpn vni ${vni}`, `VNI ${vni} with \`evpn\``, 'give one of them another VNI: EVPN knows no ports', [
        ...at,
        'vni',
      ]);
    return { kind: 'vxlan', vni, local, port, remotes, ...(evpn ? { evpn } : {}), device };
  }

  /** A device for many VNIs has a socket of its own kind, and a UDP port one socket: vxlan_find_sock() in vxlan_core.c. */
  #checkPort({ local, port, device }: Pick<VxlanAttachment, 'local' | 'port' | 'device'>, at: Path): void {
    const key = `${local.family} ${port}`;
    const before = this.#devices.get(key);
    if (!before) this.#devices.set(key, { text: device, line: this.#mistakes.lineOf(at) });
    else if (before.text !== device)
      this.#mistakes.add(
        [...at, 'device'],
        `UDP port ${port} has \`device: ${device}\` here and \`device: ${before.text}\` on line ${before.line}: the kernel has one kind on a port`,
        'write the same in both, or give one of them another `port`',
      );
  }

  /** The end of a tunnel takes its VNI like any VXLAN device. */
  noteTunnel({ vni, port, local }: { readonly vni: number; readonly port: number; readonly local: Address }, at: Path): void {
    this.#take(
      `vni ${vni} ${port} ${local.family}`,
      `VNI ${vni} on port ${port}`,
      'give one of them another VNI or another `port`',
      [...at, 'vni'],
    );
    this.#checkPort({ local, port, device: 'per-vni' }, at);
  }

  #checkFarEnds(local: Address, far: readonly Address[], what: string, at: Path, many: boolean): void {
    for (const [index, address] of far.entries()) {
      const path = many ? [...at, index] : at;
      const text = renderAddress(address);
      if (equal(address, local)) this.#mistakes.add(path, `${text} is ${what} itself`, 'write the addresses of the others only');
      else if (address.family !== local.family)
        this.#mistakes.add(
          path,
          `${text} and ${what} ${renderAddress(local)} are not of one family`,
          'write addresses of one family',
        );
      else if (far.slice(0, index).some((other) => equal(other, address)))
        this.#mistakes.add(path, `${text} stands here twice`, 'write it once');
    }
  }

  /** One BGP speaker serves all segments: what they say of it agrees, and of the peers of one VTEP too. */
  #checkSpeaker({ asn, peers, routerId }: EvpnSettings, local: Address, at: Path): void {
    if (local.family === 6)
      this.#mistakes.add(
        [...at, 'local'],
        'EVPN does not go with an IPv6 VTEP: the routing daemon (FRR) knows IPv4 VTEPs only',
        'write an IPv4 address of this machine, or `remotes:` instead of `evpn:`',
      );
    for (const [index, { address }] of peers.entries())
      if (equal(address, local) || peers.slice(0, index).some((other) => equal(other.address, address)))
        this.#mistakes.add(
          [...at, 'evpn', 'peers'],
          equal(address, local)
            ? `${renderAddress(address)} is the VTEP itself`
            : `the peer ${renderAddress(address)} stands here twice`,
          'write each other BGP speaker once',
        );
    const sameSystem = this.#agree('asn', String(asn), 'its AS number', [...at, 'evpn', 'asn']);
    if (routerId) this.#agree('router-id', renderAddress(routerId), 'its router id', [...at, 'evpn', 'router-id']);
    const path = [...at, 'evpn', 'peers'];
    const listed = peers.map(({ address }) => renderAddress(address)).sort();
    this.#agree(`peers of ${renderAddress(local)}`, listed.join(', '), `the list of peers of ${renderAddress(local)}`, path);
    // Peers without a number of their own follow ours: with that wrong, they are no second mistake.
    for (const { address, asn: system = asn } of sameSystem ? peers : [])
      this.#agree(`peer ${renderAddress(address)}`, String(system), `the AS number of the peer ${renderAddress(address)}`, path);
  }

  /** Whether this is what the first segment said. */
  #agree(key: string, text: string, what: string, at: Path): boolean {
    const before = this.#said.get(key);
    if (!before) this.#said.set(key, { text, line: this.#mistakes.lineOf(at) });
    else if (before.text !== text)
      this.#mistakes.add(
        at,
        `one BGP speaker serves all segments, and ${what} is ${text} here and ${before.text} on line ${before.line}`,
        'write the same in both',
      );
    return !before || before.text === text;
  }
}
