// A real machine on a VXLAN segment: its device encapsulates in the attacker's namespace of a lab, as a far VTEP does, and
// lives in a namespace of its own. For tests of `network` diversions.

import type { TestNamespace } from '../../src/kernel/namespace-lab.ts';
import { labAddresses, type WeirLab } from '../../src/programs/weir-lab.ts';

export interface SegmentHostOptions {
  readonly vni: number;
  /** `192.168.110.77/24`, `fd11::77/64`; the first is what it sends from. */
  readonly addresses: readonly string[];
  readonly mac?: string;
  /** Far VTEP, which is the sensor. */
  readonly remote?: string;
  readonly local?: string;
}

let made = 0;

/** The segment's far end has one host per VNI and lab. The link inside is called `lan`. */
export async function addSegmentHost(lab: WeirLab, options: SegmentHostOptions): Promise<TestNamespace> {
  made += 1;
  const host = await lab.namespaces.namespace(`h${made}`);
  const { vni, addresses, mac, remote = labAddresses.sensor, local = labAddresses.attacker } = options;
  const name = `vx${vni}`;
  await lab.attacker.ip(
    `link add ${name}${mac ? ` address ${mac}` : ''} type vxlan id ${vni} local ${local} remote ${remote} dstport 4789\n` +
      `link set ${name} netns ${host.name} name lan\n`,
  );
  await host.ip(
    `link set lan up\n${addresses.map((address) => `addr add ${address} dev lan${address.includes(':') ? ' nodad' : ''}\n`).join('')}`,
  );
  return host;
}
