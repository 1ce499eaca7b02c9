// Faults of the catalogue that routes, links, neighbours, sysctls and queues of devices make.

import { dockerRules } from './docker-rules.ts';
import { container, type FaultCase, neighbour, otherClient, server } from './fault-case.ts';

const client = '10.50.1.10';
const route = { at: 'server', layer: 'route' } as const;

export const routeCases: readonly FaultCase[] = [
  {
    number: '10',
    cause: 'rpfilter',
    verdict: 'unreachable',
    hop: route,
    contrast: { from: otherClient, verdict: 'reachable' },
    stage: [
      [
        'server',
        `echo 1 >/proc/sys/net/ipv4/conf/s0/rp_filter
ip route add ${client}/32 via 10.61.0.1`,
      ],
    ],
    heal: [['server', 'echo 2 >/proc/sys/net/ipv4/conf/s0/rp_filter']],
    fix: 'command',
    says: /rp_filter/,
  },
  {
    number: '11',
    cause: 'return-route-captured-by-bridge',
    verdict: 'unreachable',
    hop: route,
    from: '192.168.0.3',
    contrast: { from: client, verdict: 'reachable' },
    stage: [
      ['client', 'ip addr add 192.168.0.3/32 dev c0'],
      ['router', 'ip route add 192.168.0.3/32 via 10.50.1.10'],
      [
        'server',
        `ip -batch - <<X
link add br-0a1b2c3d type bridge
link add vo type veth peer name eth1 netns @container
link set vo master br-0a1b2c3d
link set vo up
addr add 192.168.0.1/20 dev br-0a1b2c3d
link set br-0a1b2c3d up
X`,
      ],
      ['container', 'ip link set eth1 up; ip addr add 192.168.0.2/20 dev eth1'],
    ],
    heal: [['server', 'ip route add 192.168.0.3/32 via 10.60.0.1']],
    fix: 'command',
    says: /192\.168\.0\.0\/20/,
    rejects: /DOCKER-USER/,
  },
  {
    number: '12',
    cause: 'gateway-ip-is-local',
    confidence: 'observed',
    verdict: 'unreachable',
    hop: route,
    contrast: { from: neighbour, verdict: 'reachable' },
    stage: [
      [
        'server',
        `ip -batch - <<X
link add br-gw type bridge
addr add 10.60.0.1/24 dev br-gw
link set br-gw up
X`,
      ],
      ['router', 'ip neigh flush dev r1'],
    ],
    heal: [['server', 'ip link del br-gw']],
    fix: 'command',
    says: /10\.60\.0\.1/,
  },
  {
    number: '13',
    cause: 'no-return-route',
    verdict: 'unreachable',
    hop: route,
    contrast: { from: neighbour, verdict: 'reachable' },
    stage: [['server', 'ip route del default']],
    heal: [['server', 'ip route add default via 10.60.0.1']],
    fix: 'command',
  },
  {
    number: '14',
    cause: 'return-route-blackhole',
    verdict: 'unreachable',
    hop: route,
    contrast: { from: neighbour, verdict: 'reachable' },
    stage: [['server', 'ip route add blackhole 10.50.1.0/24']],
    heal: [['server', 'ip route del blackhole 10.50.1.0/24']],
    fix: 'command',
  },
  {
    number: '14.5',
    cause: 'policy-rule-prohibit',
    verdict: 'unreachable',
    hop: route,
    contrast: { from: otherClient, verdict: 'reachable' },
    stage: [['server', `ip rule add to ${client} prohibit`]],
    heal: [['server', `ip rule del to ${client} prohibit`]],
    fix: 'command',
  },
  {
    number: '15',
    cause: 'forwarding-disabled',
    verdict: 'unreachable',
    hop: route,
    contrast: { from: neighbour, verdict: 'unreachable' },
    listening: [container()],
    stage: [
      ['server', dockerRules()],
      ['server', 'echo 0 >/proc/sys/net/ipv4/ip_forward'],
    ],
    heal: [['server', 'echo 1 >/proc/sys/net/ipv4/ip_forward']],
    fix: 'command',
    says: /ip_forward/,
  },
  {
    number: '19',
    cause: 'pmtu-blackhole',
    confidence: 'observed',
    verdict: 'degraded',
    hop: { at: 'router', layer: 'mtu' },
    contrast: { from: neighbour, verdict: 'reachable' },
    listening: [server('0.0.0.0', 'greet')],
    stage: [['router', 'ip link set r0 mtu 1280; iptables-nft -A OUTPUT -p icmp --icmp-type fragmentation-needed -j DROP']],
    heal: [['router', 'iptables-nft -F OUTPUT']],
    fix: 'command',
  },
  {
    number: '26',
    cause: 'reply-lost-off-host',
    confidence: 'observed',
    verdict: 'inconclusive',
    hop: { at: 'server', layer: 'neighbour' },
    contrast: { from: neighbour, verdict: 'reachable' },
    stage: [['server', 'ip neigh replace 10.60.0.1 lladdr 02:00:00:00:00:99 dev s0 nud permanent']],
    heal: [['server', 'ip neigh del 10.60.0.1 dev s0']],
    fix: 'command',
    says: /02:00:00:00:00:99/,
  },
  {
    number: '27',
    cause: 'qdisc-drop',
    // What it drops are answers too, which are sent again: more than one for each question.
    confidence: 'observed',
    verdict: 'unreachable',
    hop: { at: 'server', layer: 'qdisc' },
    contrast: { from: '172.18.0.2', verdict: 'reachable' },
    stage: [['server', 'tc qdisc add dev s0 root tbf rate 8bit burst 10 latency 1ms']],
    heal: [['server', 'tc qdisc del dev s0 root']],
    fix: 'command',
  },
  {
    number: '28',
    cause: 'link-down',
    confidence: 'observed',
    verdict: 'unreachable',
    hop: { at: 'switch', layer: 'link' },
    contrast: { from: '172.18.0.2', verdict: 'reachable' },
    stage: [['switch', 'ip link set w-s down']],
    heal: [['switch', 'ip link set w-s up']],
    fix: 'command',
  },
  {
    number: '31',
    cause: 'policy-route-captured',
    verdict: 'unreachable',
    hop: route,
    contrast: { from: neighbour, verdict: 'reachable' },
    stage: [['server', 'ip rule add to 10.50.1.0/24 lookup 99; ip route add 10.50.0.0/16 dev br-lab table 99']],
    heal: [['server', 'ip rule del to 10.50.1.0/24 lookup 99']],
    fix: 'command',
    says: /99/,
  },
];
