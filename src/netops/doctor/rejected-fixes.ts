// Fixes that are often given and do not help here: each tried in the walk, with the rule in place, and refused with what it then says.
// Pure: nothing is changed.

import { renderAddress } from '../../model/address.ts';
import type { RejectedFix } from '../../model/diagnosis.ts';
import type { Machine, MachineNamespace } from '../../model/machine.ts';
import type { FilterRule, PacketFilter } from '../../model/packet-filter.ts';
import { insideNamespace } from './fix-rule.ts';
import type { WalkHop } from './hop.ts';
import { type PathWalk, type WalkRequest, walkPath } from './path-walk.ts';

const rejectable = 'DOCKER-USER';

/** For a diagnosis that failed. */
export function rejectFixes(request: WalkRequest, walk: PathWalk, cause: WalkHop): RejectedFix[] {
  const { fault, namespace } = cause;
  if (!fault) return [];
  const rejected: RejectedFix[] = [];
  const host = hostOf(walk, namespace);
  if (host && fault.parts.rule?.chain !== rejectable) {
    const found = dockerUser(request, host, walk, cause);
    if (found) rejected.push(found);
  }
  if (fault.id === 'fw-legacy-drop')
    rejected.push({
      cmd: insideNamespace(namespace, 'nft flush ruleset'),
      why: 'the rule is of iptables-legacy, which nft neither shows nor touches',
      proof: `nft accepts this packet; what becomes of it: ${fault.detail}`,
    });
  if (fault.id === 'rpfilter')
    rejected.push({
      cmd: insideNamespace(namespace, 'sysctl -w net.ipv4.conf.all.rp_filter=0'),
      why: 'the larger of `all` and the device’s own value counts',
      proof: `net.ipv4.conf.${fault.parts.inputDevice}.rp_filter = ${namespace.sysctls[`net/ipv4/conf/${fault.parts.inputDevice}/rp_filter`] ?? '?'} stays in force`,
    });
  return rejected;
}

/** Who has containers behind it: where people would try that chain. */
const hostOf = (walk: PathWalk, namespace: MachineNamespace): MachineNamespace | undefined =>
  [namespace, ...walk.through].find(
    ({ filter, links }) =>
      filter?.chains.some(({ name }) => name === rejectable) ||
      links.some(({ name, kind }) => kind === 'bridge' && /^(docker\d|br-[0-9a-f]{8,})/.test(name)),
  );

function dockerUser(request: WalkRequest, host: MachineNamespace, walk: PathWalk, cause: WalkHop): RejectedFix | undefined {
  const source = renderAddress(request.source);
  const chain = host.filter?.chains.find(({ name }) => name === rejectable);
  const base = { cmd: insideNamespace(host, `iptables -I ${rejectable} -s ${source} -j ACCEPT`) };
  const why = 'it would open every container and every port to that source, and it is not what stops this flow';
  const forwarded = walk.hops.some(
    ({ layer, namespace, detail }) => layer === 'filter' && namespace === host && detail.startsWith('forward'),
  );
  if (!chain || !host.filter) {
    const proof = forwarded
      ? `there is no chain ${rejectable} here`
      : `this flow goes through INPUT, never through FORWARD, where ${rejectable} hangs; there is no such chain here`;
    return { ...base, why, proof };
  }
  const accept: FilterRule = {
    backend: chain.backend,
    family: chain.family,
    table: chain.table,
    chain: chain.name,
    handle: -1,
    text: `-s ${source} -j ACCEPT`,
    statements: [
      {
        kind: 'compare',
        left: { kind: 'field', field: request.source.family === 4 ? 'ip.saddr' : 'ip6.saddr' },
        operator: '==',
        right: [[{ first: request.source.value, last: request.source.value }]],
      },
      { kind: 'accept' },
    ],
  };
  const filter: PacketFilter = {
    ...host.filter,
    chains: host.filter.chains.map((one) => (one === chain ? { ...one, rules: [accept, ...one.rules] } : one)),
  };
  const changed: Machine = {
    ...request.machine,
    namespaces: request.machine.namespaces.map((one) => (one === host ? { ...host, filter } : one)),
  };
  const start =
    request.start.namespace === host
      ? { ...request.start, namespace: changed.namespaces.find(({ inode }) => inode === host.inode) ?? host }
      : request.start;
  const again = walkPath({ ...request, machine: changed, start });
  const still = again.hops.find(({ fault }) => fault?.id === cause.fault?.id);
  if (!still) return undefined;
  const there = chain.rules.filter(({ text }) => text.includes(source) && /-j ACCEPT/.test(text));
  const packets = there.reduce((sum, rule) => sum + (rule.packets ?? 0), 0);
  const counted = there.length > 0 ? `; it is there already and matched ${packets} packets` : '';
  const path = forwarded
    ? ''
    : `${rejectable} hangs in FORWARD, and this flow goes through INPUT: 0 packets of it come by the chain; `;
  return { ...base, why, proof: `${path}with that rule in place the walk still ends at: ${still.detail}${counted}` };
}
