// A machine (`sensor`) and a far VTEP (`far`) on one underlay, configurations with VXLAN segments on it, and hosts behind
// the far VTEP that look into those segments. For tests of segments by the kernel alone.

import { type Address, parseAddress } from '../../src/model/address.ts';
import type { Configuration, InterfaceAddress, NetworkDiversion } from '../../src/model/configuration.ts';
import type { DecoyGroup } from '../../src/model/decoy.ts';
import type { PersonaShare } from '../../src/model/population.ts';
import { configurationOf } from './diversion-bed.ts';
import { group } from './golden-states.ts';
import type { NamespaceLab, TestNamespace } from './namespace.ts';

export const addressOf = (text: string): Address => parseAddress(text) as Address;

export function interfaceAddress(text: string): InterfaceAddress {
  const [address, length] = text.split('/');
  return { address: addressOf(address), prefixLength: Number(length) };
}

/** A population of one persona that Weir brings along. */
export const servers: readonly PersonaShare[] = [{ persona: 'linux-server', share: 10_000 }];

export interface SegmentOptions {
  readonly vni: number;
  readonly addresses?: readonly string[];
  readonly gateways?: readonly string[];
  readonly groups?: readonly DecoyGroup[];
  readonly remotes?: readonly string[];
  readonly local?: string;
  readonly mtu?: number;
}

/** 192.168.50.2/24 with decoys at .10 to .250 unless told otherwise. */
export function vxlanSegment(name: string, options: SegmentOptions): NetworkDiversion {
  const { vni, addresses = ['192.168.50.2/24'], gateways = [], remotes = ['10.99.0.1'], local = '10.99.0.2' } = options;
  return {
    kind: 'network',
    name,
    attachment: {
      kind: 'vxlan',
      vni,
      local: addressOf(local),
      port: 4789,
      remotes: remotes.map(addressOf),
      device: 'per-vni',
    },
    addresses: addresses.map(interfaceAddress),
    gateways: gateways.map(addressOf),
    ...(options.mtu === undefined ? {} : { mtu: options.mtu }),
    groups: options.groups ?? [group(name, 'claimed', ['192.168.50.10-192.168.50.250'], servers)],
    place: { file: 'weir.yaml', line: 3 },
  };
}

/** A configuration with these segments and, as text, whatever else. */
export const withSegments = (segments: readonly NetworkDiversion[], rest = ''): Configuration => {
  const base = configurationOf(rest);
  return { ...base, diversions: [...base.diversions, ...segments] };
};

/** A machine and a far VTEP: `av` 10.99.0.1 in `far`, `sv` 10.99.0.2 in `sensor`, IPv6 fd99::1 and fd99::2. */
export async function createUnderlay(lab: NamespaceLab): Promise<{ far: TestNamespace; sensor: TestNamespace }> {
  const far = await lab.namespace('far');
  const sensor = await lab.namespace('s');
  await lab.join(
    { namespace: far, link: 'av', addresses: ['10.99.0.1/16', 'fd99::1/64'] },
    { namespace: sensor, link: 'sv', addresses: ['10.99.0.2/16', 'fd99::2/64'] },
  );
  return { far, sensor };
}

/** A host in a namespace of its own with the far end of a VNI as `lan`. */
export async function hostBehind(
  lab: NamespaceLab,
  far: TestNamespace,
  label: string,
  vni: number,
  addresses: readonly string[],
  remote = '10.99.0.2',
): Promise<TestNamespace> {
  const host = await lab.namespace(label);
  const local = remote.includes(':') ? 'fd99::1' : '10.99.0.1';
  await far.ip(`link add lan netns ${host.name} type vxlan id ${vni} local ${local} remote ${remote} dstport 4789\n`);
  const lines = addresses.map((address) => `addr add ${address} dev lan${address.includes(':') ? ' nodad' : ''}\n`);
  await host.ip(`link set lan up\n${lines.join('')}`);
  return host;
}
