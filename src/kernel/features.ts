// Which kinds of links this kernel can make, found out by making them in a network namespace that goes at once. Asking for
// modules by name would say nothing of what is built in, or forbidden.

import { WeirError } from '../base/errors.ts';
import type { CommandRunner } from './command.ts';

/** `single-vxlan`: a VXLAN device for many VNIs with a VNI filter, below a bridge that filters VLANs. */
export type KernelFeature = 'vlan' | 'vxlan' | 'macvlan' | 'bridge' | 'single-vxlan';

/** Commands of `ip -batch`, each of which fails where the feature is missing; `probe0` is there. */
const attempts: Readonly<Record<KernelFeature, readonly string[]>> = {
  vlan: ['link add link probe0 name v0 type vlan id 2'],
  vxlan: ['link add x0 type vxlan id 2 dstport 4789 local 192.0.2.1'],
  macvlan: ['link add link probe0 name m0 type macvlan mode bridge'],
  bridge: ['link add b0 type bridge'],
  'single-vxlan': [
    'link add x1 type vxlan external vnifilter dstport 4790 local 192.0.2.1',
    'link add b1 type bridge vlan_filtering 1',
  ],
};

/**
 * Those of the wanted features that are missing. Needs CAP_SYS_ADMIN; the kernel may load its modules for them, as it would
 * when they are used. One process, none when nothing is wanted. Throws `kernel-refused` when no namespace can be made.
 */
export async function readMissingFeatures(runner: CommandRunner, wanted: readonly KernelFeature[]): Promise<KernelFeature[]> {
  if (wanted.length === 0) return [];
  const lines = ['link add probe0 type veth peer name probe1'];
  const featureOfLine = new Map<number, KernelFeature>();
  for (const feature of new Set(wanted))
    for (const attempt of attempts[feature]) {
      lines.push(attempt);
      featureOfLine.set(lines.length, feature);
    }
  const input = `${lines.join('\n')}\n`;
  const { code, stderr } = await runner.run('unshare', ['--net', '--', 'ip', '-force', '-batch', '-'], { input, anyCode: true });
  const failed = [...stderr.matchAll(/^Command failed -:(\d+)/gm)].map(([, line]) => Number(line));
  if (code !== 0 && (failed.length === 0 || failed.includes(1)))
    throw new WeirError('kernel-refused', `cannot look for what this kernel can do: ${stderr.trim().slice(0, 200)}`, { wanted });
  return [...new Set(failed.flatMap((line) => featureOfLine.get(line) ?? []))];
}
