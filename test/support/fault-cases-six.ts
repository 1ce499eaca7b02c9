// Some faults of the catalogue over IPv6: whatever is said of one family holds for the other.

import type { FaultCase } from './fault-case.ts';
import type { Listening } from './fault-lab.ts';

const client = 'fd50:1::10';
const neighbour = 'fd60::20';
const listening: readonly Listening[] = [{ at: 'server', address: '[::]', port: 8080 }];
const common = {
  from: client,
  to: ['fd60::2', 8080],
  verdict: 'unreachable',
  listening,
  fix: 'command',
  contrast: { from: neighbour, verdict: 'reachable' },
} as const;
const server = (layer: string) => ({ at: 'server', layer }) as const;

export const faultCasesOfSix: readonly FaultCase[] = [
  {
    ...common,
    number: '4, IPv6',
    cause: 'fw-rule-drop',
    hop: server('filter'),
    stage: [['server', `ip6tables-nft -A INPUT -s ${client} -p tcp --dport 8080 -j DROP`]],
    heal: [['server', 'ip6tables-nft -F INPUT']],
  },
  {
    ...common,
    number: '5, IPv6',
    cause: 'fw-legacy-drop',
    hop: server('filter'),
    stage: [['server', `ip6tables-legacy -A INPUT -s ${client} -p tcp --dport 8080 -j DROP`]],
    heal: [['server', 'ip6tables-legacy -F INPUT']],
  },
  {
    ...common,
    number: '8, IPv6',
    cause: 'fw-reject-icmp',
    hop: server('filter'),
    stage: [['server', `ip6tables-nft -A INPUT -s ${client} -p tcp --dport 8080 -j REJECT --reject-with icmp6-port-unreachable`]],
    heal: [['server', 'ip6tables-nft -F INPUT']],
  },
  {
    ...common,
    // EACCES at connect(), where port-unreachable is a refusal.
    number: '8, IPv6, prohibited',
    cause: 'fw-reject-icmp',
    hop: server('filter'),
    stage: [['server', `ip6tables-nft -A INPUT -s ${client} -p tcp --dport 8080 -j REJECT --reject-with icmp6-adm-prohibited`]],
    heal: [['server', 'ip6tables-nft -F INPUT']],
  },
  {
    ...common,
    number: '13, IPv6',
    cause: 'no-return-route',
    hop: server('route'),
    stage: [['server', 'ip -6 route del default']],
    heal: [['server', 'ip -6 route add default via fd60::1']],
  },
  {
    ...common,
    number: '14, IPv6',
    cause: 'return-route-blackhole',
    hop: server('route'),
    stage: [['server', 'ip -6 route add blackhole fd50:1::/64']],
    heal: [['server', 'ip -6 route del blackhole fd50:1::/64']],
  },
  {
    ...common,
    number: '15, IPv6',
    cause: 'forwarding-disabled',
    hop: { at: 'router', layer: 'route' },
    stage: [['router', 'echo 0 >/proc/sys/net/ipv6/conf/all/forwarding']],
    heal: [['router', 'echo 1 >/proc/sys/net/ipv6/conf/all/forwarding']],
    fix: 'advice',
  },
];
