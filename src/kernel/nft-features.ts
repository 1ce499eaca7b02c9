// Which parts of nftables this kernel has that rules of ours are made of: each is tried in a network namespace that goes at once, by a
// transaction that is checked and never committed. Links are features.ts.

import type { CommandRunner } from './command.ts';

export type NftFeature = 'tproxy' | 'socket' | 'jhash' | 'reject' | 'log' | 'netdev-ingress' | 'netdev-egress';

const inPrerouting = (rule: string): string =>
  `table inet probe { chain c { type filter hook prerouting priority -150; ${rule}; }; }\n`;

const attempts: Readonly<Record<NftFeature, string>> = {
  tproxy: inPrerouting('meta l4proto tcp tproxy ip to 127.0.0.1:1 accept'),
  socket: inPrerouting('socket transparent 1 accept'),
  jhash: inPrerouting('meta mark set jhash ip daddr mod 100 seed 0x1'),
  reject: 'table inet probe { chain c { type filter hook input priority 0; meta l4proto tcp reject with tcp reset; }; }\n',
  log: inPrerouting('log group 5'),
  'netdev-ingress': 'table netdev probe { chain c { type filter hook ingress device lo priority 0; }; }\n',
  'netdev-egress': 'table netdev probe { chain c { type filter hook egress device lo priority 0; }; }\n',
};

export const nftFeatures = Object.keys(attempts) as NftFeature[];

/** What every kernel with nftables takes: where it is refused, it is not for a missing part. */
const neutral = 'table inet probe { chain c { }; }\n';

/** Those of the wanted that are missing; undefined where nothing can be tried here, and that says nothing of the kernel. Needs CAP_SYS_ADMIN; modules may be loaded for them, as when they are used. */
export async function readMissingNftFeatures(
  runner: CommandRunner,
  wanted: readonly NftFeature[] = nftFeatures,
): Promise<NftFeature[] | undefined> {
  const loads = async (input: string): Promise<boolean> => {
    const { code } = await runner.run('unshare', ['--net', '--', 'nft', '-c', '-f', '-'], { input, anyCode: true });
    return code === 0;
  };
  if (!(await loads(neutral))) return undefined;
  const found = await Promise.all(wanted.map(async (feature) => ((await loads(attempts[feature])) ? [] : [feature])));
  return found.flat();
}
