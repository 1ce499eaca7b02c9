// Who manages a rule, as far as its place and words tell: programs name their tables and chains after themselves. Pure.

import type { RulePlace } from '../../model/packet-filter.ts';

/** Owners by the name of a table, then of a chain; the first that fits. */
const byTable: readonly (readonly [RegExp, string])[] = [
  [/^weir(-services)?$/, 'weir'],
  [/^f2b-table$/, 'fail2ban'],
  [/^firewalld$/, 'firewalld'],
  [/^(kube-proxy|cilium|calico)$/, 'kube'],
  [/^docker-bridges$/, 'docker'],
  [/^netavark$/, 'podman'],
  [/^(libvirt_network)$/, 'libvirt'],
  [/^lxc$/, 'lxc'],
  [/^(incus|lxd)$/, 'incus'],
  [/^ts-|^tailscale/, 'tailscale'],
];

const byChain: readonly (readonly [RegExp, string])[] = [
  [/^DOCKER(-|$)/, 'docker'],
  [/^(KUBE-|CNI-|cali-|FLANNEL)/, 'kube'],
  [/^ufw6?-/, 'ufw'],
  [/^(LIBVIRT_)/, 'libvirt'],
  [/^ts-/, 'tailscale'],
  [/^NETAVARK/, 'podman'],
  [/^sshguard/, 'sshguard'],
  [/^crowdsec/i, 'crowdsec'],
  [/^WEIR/i, 'weir'],
  // Zones of firewalld with its old backend.
  [
    /^(INPUT|FORWARD|PREROUTING|POSTROUTING)_(ZONES|direct)|^(IN|FWDI|FWDO|FWD|PRE|POST)_(public|trusted|internal|external|dmz|work|home|drop|block)/,
    'firewalld',
  ],
];

/** The set or chain of a jail: `f2b-sshd`, `addr-set-sshd`; fail2ban's action.d. */
const jailOfChain = /^(?:f2b|fail2ban)-(.+)$/;
const jailInText = /(?:@addr6?-set-|(?:^|[ @])f2b-)([A-Za-z0-9_.-]+)/;

/** `comment` is nft's. Undefined where nothing tells: rules of an administrator. */
export function ruleOwner(place: Omit<RulePlace, 'owner'>, comment = ''): string | undefined {
  const { table, chain, text } = place;
  // Its nft action calls the chain of all jails `f2b-chain`, and tells them apart by their sets.
  const named = jailOfChain.exec(chain)?.[1];
  const jail = named === undefined || named === 'chain' ? jailInText.exec(text)?.[1] : named;
  if (jail !== undefined) return `fail2ban ${jail}`;
  const tableOwner = byTable.find(([pattern]) => pattern.test(table))?.[1];
  if (tableOwner !== undefined) return tableOwner;
  const chainOwner = byChain.find(([pattern]) => pattern.test(chain))?.[1];
  if (chainOwner !== undefined) return chainOwner;
  const target = /(?:-[jg]|jump|goto) (\S+)/.exec(text)?.[1];
  const targetOwner = target === undefined ? undefined : byChain.find(([pattern]) => pattern.test(target))?.[1];
  if (targetOwner !== undefined) return targetOwner;
  // What Docker writes into the base chains names its bridge.
  if (/\b(docker0|docker_gwbridge|br-[0-9a-f]{12})\b/.test(text)) return 'docker';
  if (/kubernetes|kube-proxy/.test(`${text} ${comment}`)) return 'kube';
  return undefined;
}
