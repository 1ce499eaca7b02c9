// Sysctls of the network as text that stays the same while they do, and what brings them back: what closes first, what opens last, and after a
// value that the kernel copies to others, those others. Pure.
// Sources: Documentation/networking/ip-sysctl.rst (ip_forward "resets all configuration parameters"), net/ipv4/devinet.c
// (inet_forward_change, devinet_copy_dflt_conf), net/ipv6/addrconf.c (addrconf_fixup_forwarding, addrconf_disable_ipv6).

import type { SettingsStep } from '../../model/network-settings.ts';

/** Devices that come and go with containers and tunnels, and Weir's own. */
const passingDevice = /^net\/ipv[46]\/conf\/(?:veth|weir|wm|cali|tap|tun|vnet|br-[0-9a-f]{12}\/)/;
const passingKeys = new Set(['net/netfilter/nf_conntrack_count']);

export const canonicalSysctls = (sysctls: Readonly<Record<string, string>>): string =>
  Object.entries(sysctls)
    .filter(([key]) => !passingKeys.has(key) && !passingDevice.test(key))
    .map(([key, value]) => `${key} = ${value.replace(/\s+/g, ' ')}\n`)
    .sort()
    .join('');

export interface SysctlSteps {
  /** Let less in than before, or neither less nor more. */
  readonly closing: readonly SettingsStep[];
  /** IPv6 back on a device: before its routes. */
  readonly enabling: readonly SettingsStep[];
  readonly opening: readonly SettingsStep[];
  /** IPv6 off on a device, which ends its routes: after those that are removed by name. */
  readonly disabling: readonly SettingsStep[];
}

const valuesOf = (text: string): Map<string, string> =>
  new Map(
    text.split('\n').flatMap((line) => {
      const at = line.indexOf(' = ');
      return at < 0 ? [] : [[line.slice(0, at), line.slice(at + 3)] as const];
    }),
  );

const keyPattern = /^net\/[A-Za-z0-9_./@:-]+$/;

const nameOf = (key: string): string => key.slice(key.lastIndexOf('/') + 1);
const deviceOf = (key: string): string | undefined => /^net\/ipv[46]\/conf\/(.+)\/[^/]+$/.exec(key)?.[1];

const opensWhenHigher =
  /^(?:ip_forward|forwarding|accept_redirects|accept_source_route|accept_ra|accept_local|route_localnet|proxy_arp|proxy_arp_pvlan|proxy_ndp|bootp_relay|ip_nonlocal_bind)$/;
const opensWhenLower = /^(?:secure_redirects|tcp_syncookies|bridge-nf-call-\w+|icmp_echo_ignore_\w+|drop_\w+)$/;
/** No check, a loose one, a strict one. */
const strictness: Readonly<Record<string, number>> = { '0': 0, '2': 1, '1': 2 };

function opens(key: string, before: string, value: string): boolean {
  const name = nameOf(key);
  if (name === 'rp_filter') return (strictness[value] ?? 0) < (strictness[before] ?? 0);
  if (opensWhenHigher.test(name)) return Number(value) > Number(before);
  return opensWhenLower.test(name) && Number(value) < Number(before);
}

const switches4 = new Set(['net/ipv4/ip_forward', 'net/ipv4/conf/all/forwarding']);
const copied6 = /^net\/ipv6\/conf\/all\/(?:forwarding|disable_ipv6|ignore_routes_with_linkdown|addr_gen_mode)$/;

/** What the kernel writes to another value when `key` becomes `value`; undefined: nothing. */
function copiedTo(key: string, value: string, other: string): string | undefined {
  const [device, name] = [deviceOf(other), nameOf(other)];
  if (key === other || device === undefined) return undefined;
  const family = key.slice(0, 'net/ipv4/'.length);
  if (!other.startsWith(family)) return undefined;
  if (switches4.has(key)) {
    if (other === 'net/ipv4/conf/all/accept_redirects') return value === '0' ? '1' : '0';
    return name === 'forwarding' && device !== 'all' ? value : undefined;
  }
  if (nameOf(key) !== name || device === 'all') return undefined;
  if (copied6.test(key)) return value;
  // Devices that never had a value of their own take that of `default`.
  return family === 'net/ipv4/' && deviceOf(key) === 'default' && device !== 'default' ? value : undefined;
}

/** Comes before those it is copied to. */
const rank = (key: string): number => {
  if (switches4.has(key) || copied6.test(key)) return 0;
  const device = deviceOf(key);
  return device === 'all' ? 1 : device === 'default' ? 2 : 3;
};

/** Values that differ, and those that would after the others are written; of devices that are gone nothing can be put back. */
export function sysctlSteps(now: string, wanted: string): SysctlSteps {
  const [current, goal] = [valuesOf(now), valuesOf(wanted)];
  const isWritable = (key: string): boolean => current.has(key) && keyPattern.test(key) && !key.includes('..');
  const entries = [...goal].filter(([key]) => isWritable(key)).sort(([a], [b]) => rank(a) - rank(b) || (a < b ? -1 : 1));
  const differing = entries.filter(([key, value]) => current.get(key) !== value);
  const parents = differing.filter(([key]) => rank(key) === 0 || deviceOf(key) === 'default');
  const steps = { closing: [] as SettingsStep[], enabling: [] as SettingsStep[], opening: [] as SettingsStep[] };
  const disabling: SettingsStep[] = [];
  const late = new Set<string>();
  for (const [key, value] of entries) {
    const before = current.get(key) ?? value;
    const above = parents.filter(([parent, written]) => {
      const copy = copiedTo(parent, written, key);
      return copy !== undefined && copy !== value;
    });
    if (before === value && above.length === 0) continue;
    const what =
      before === value ? `sysctl ${key}: stays ${value}, which the above changes` : `sysctl ${key}: ${before} -> ${value}`;
    const step = { what, program: 'tee', args: [`/proc/sys/${key}`], input: value };
    if (nameOf(key) === 'disable_ipv6') {
      const isCopiedLate = above.some(([, written]) => written !== '0');
      (value === '0' && !isCopiedLate ? steps.enabling : disabling).push(step);
      continue;
    }
    const isLate = opens(key, above.length > 0 ? (copiedTo(...above[0], key) ?? before) : before, value);
    if (isLate || above.some(([parent]) => late.has(parent))) late.add(key);
    steps[late.has(key) ? 'opening' : 'closing'].push(step);
  }
  return { ...steps, disabling };
}

/** Whether some of these steps change what devices forward that are in no text. */
export const changesEveryDevice = (steps: readonly SettingsStep[]): boolean =>
  steps.some(({ args }) =>
    args.some((path) => /^\/proc\/sys\/net\/(?:ipv4\/ip_forward|ipv[46]\/conf\/all\/forwarding)$/.test(path)),
  );
