// Faults of the catalogue that rules make: nft, iptables on nft, iptables-legacy, Docker's and fail2ban's chains, queues, limits.

import { dockerRules } from './docker-rules.ts';
import { container, type FaultCase, neighbour, noRules, otherClient, server } from './fault-case.ts';

const client = '10.50.1.10';
const filter = { at: 'server', layer: 'filter' } as const;

const inputDrop = `nft -f - <<X
table inet lab {
  chain input {
    type filter hook input priority filter; policy accept;
    ct state established,related accept
    ip saddr ${client} tcp dport 8080 counter drop
  }
}
X`;

export const filterCases: readonly FaultCase[] = [
  {
    number: '4',
    cause: 'fw-rule-drop',
    verdict: 'unreachable',
    hop: filter,
    contrast: { from: otherClient, verdict: 'reachable' },
    stage: [['server', inputDrop]],
    heal: [noRules],
    fix: 'command',
    says: /handle \d+/,
  },
  {
    number: '5',
    cause: 'fw-legacy-drop',
    verdict: 'unreachable',
    hop: filter,
    contrast: { from: otherClient, verdict: 'reachable' },
    stage: [
      ['server', `iptables-legacy -A INPUT -s ${client} -p tcp --dport 8080 -j DROP`],
      [
        'server',
        'nft add table ip lab; nft add chain ip lab in "{ type filter hook input priority 0; }"; nft add rule ip lab in tcp dport 8080 accept',
      ],
    ],
    heal: [['server', 'iptables-legacy -F INPUT']],
    fix: 'command',
    says: /legacy/,
  },
  {
    number: '6',
    cause: 'fw-rule-drop',
    verdict: 'unreachable',
    hop: filter,
    contrast: { from: otherClient, verdict: 'reachable' },
    listening: [container()],
    stage: [['server', dockerRules({ user: [`-s ${client}/32 -p tcp -m conntrack --ctorigdstport 8080 -j DROP`] })]],
    heal: [noRules, ['server', dockerRules()]],
    fix: 'command',
    says: /DOCKER-USER[\s\S]*8080/,
  },
  {
    number: '7',
    cause: 'fw-reject-rst',
    verdict: 'unreachable',
    hop: filter,
    contrast: { from: otherClient, verdict: 'reachable' },
    stage: [['server', `iptables-nft -A INPUT -s ${client} -p tcp --dport 8080 -j REJECT --reject-with tcp-reset`]],
    heal: [['server', 'iptables-nft -F INPUT']],
    fix: 'command',
  },
  {
    number: '8',
    cause: 'fw-reject-icmp',
    verdict: 'unreachable',
    hop: filter,
    contrast: { from: otherClient, verdict: 'reachable' },
    stage: [['server', `iptables-nft -A INPUT -s ${client} -p tcp --dport 8080 -j REJECT --reject-with icmp-port-unreachable`]],
    heal: [['server', 'iptables-nft -F INPUT']],
    fix: 'command',
  },
  {
    number: '9',
    cause: 'banned',
    verdict: 'unreachable',
    hop: filter,
    contrast: { from: otherClient, verdict: 'reachable' },
    stage: [
      [
        'server',
        `nft -f - <<X
table inet f2b-table {
  set addr-set-web { type ipv4_addr; flags timeout; elements = { ${client} timeout 600s } }
  chain f2b-chain {
    type filter hook input priority filter - 1; policy accept;
    tcp dport { 8080 } ip saddr @addr-set-web drop
  }
}
X`,
      ],
    ],
    heal: [['server', `nft delete element inet f2b-table addr-set-web "{ ${client} }"`]],
    fix: 'command',
    says: /web/,
  },
  {
    number: '20',
    cause: 'ct-invalid-asymmetric',
    verdict: 'unreachable',
    hop: { at: 'neighbour', layer: 'filter' },
    contrast: { from: neighbour, verdict: 'reachable' },
    stage: [
      [
        'neighbour',
        `ip -batch - <<X
link add n1 type veth peer name c1 netns @client
link set n1 up
addr add 10.50.2.1/24 dev n1
X
echo 1 >/proc/sys/net/ipv4/ip_forward`,
      ],
      ['client', 'ip link set c1 up; ip addr add 10.50.2.10/24 dev c1'],
      [
        'neighbour',
        `ip route add ${client}/32 via 10.50.2.10 dev n1
nft add table inet lab
nft add chain inet lab forward "{ type filter hook forward priority 0; }"
nft add rule inet lab forward ct state invalid drop`,
      ],
      ['server', `ip route add ${client}/32 via 10.60.0.20`],
    ],
    heal: [['server', `ip route del ${client}/32`]],
    fix: 'command',
  },
  {
    number: '21',
    cause: 'fw-reply-drop',
    verdict: 'unreachable',
    hop: filter,
    contrast: { from: otherClient, verdict: 'reachable' },
    stage: [
      [
        'server',
        `nft add table inet lab; nft add chain inet lab out "{ type filter hook output priority 0; }"; nft add rule inet lab out ip daddr ${client} tcp sport 8080 drop`,
      ],
    ],
    heal: [noRules],
    fix: 'command',
  },
  {
    number: '23',
    cause: 'ipsec-policy',
    verdict: 'unreachable',
    hop: { at: 'server', layer: 'xfrm' },
    contrast: { from: otherClient, verdict: 'reachable' },
    stage: [['server', `ip xfrm policy add dir in src ${client}/32 dst 10.60.0.2/32 action block`]],
    heal: [['server', `ip xfrm policy delete dir in src ${client}/32 dst 10.60.0.2/32`]],
    fix: 'command',
  },
  {
    number: '24',
    cause: 'bridge-nf-drop',
    verdict: 'unreachable',
    hop: { at: 'switch', layer: 'filter' },
    from: neighbour,
    contrast: { from: '172.18.0.2', verdict: 'reachable' },
    stage: [['switch', 'echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables; iptables-nft -P FORWARD DROP']],
    heal: [['switch', 'echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables']],
    fix: 'command',
  },
  {
    number: '25',
    cause: 'nfqueue-no-consumer',
    verdict: 'unreachable',
    hop: filter,
    contrast: { from: otherClient, verdict: 'reachable' },
    stage: [['server', `iptables-nft -A INPUT -s ${client} -p tcp --dport 8080 -j NFQUEUE --queue-num 7`]],
    heal: [['server', 'iptables-nft -F INPUT']],
    fix: 'command',
    says: /7/,
  },
  {
    number: '29',
    cause: 'docker-raw-isolation',
    verdict: 'unreachable',
    hop: filter,
    to: ['172.18.0.2', 80],
    contrast: { from: '172.18.0.1', verdict: 'reachable' },
    listening: [container()],
    stage: [
      ['server', dockerRules({ raw: ['-d 172.18.0.2/32 ! -i br-lab -j DROP'] })],
      ['router', 'ip route add 172.18.0.0/16 via 10.60.0.2'],
    ],
    heal: [['server', 'iptables-nft -t raw -F PREROUTING']],
    fix: 'command',
    rejects: /DOCKER-USER/,
  },
  {
    number: '30',
    cause: 'nat-backend-conflict',
    verdict: 'unreachable',
    hop: { at: 'server', layer: 'nat' },
    contrast: { from: neighbour, verdict: 'unreachable' },
    listening: [container()],
    stage: [
      ['server', dockerRules()],
      ['server', 'iptables-legacy -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 172.18.0.9:80'],
    ],
    heal: [['server', 'iptables-legacy -t nat -F PREROUTING']],
    fix: 'command',
  },
  {
    number: '33',
    cause: 'fw-rate-limit',
    verdict: 'degraded',
    hop: filter,
    contrast: { from: neighbour, verdict: 'reachable' },
    stage: [
      [
        'server',
        `nft -f - <<X
table inet lab {
  chain input {
    type filter hook input priority filter; policy accept;
    ip saddr ${client} tcp dport 8080 ct state new limit rate over 1/hour burst 1 packets drop
  }
}
X`,
      ],
    ],
    heal: [noRules],
    fix: 'command',
  },
  {
    number: '34',
    cause: 'fw-rule-drop',
    verdict: 'unreachable',
    hop: filter,
    contrast: { from: otherClient, verdict: 'reachable' },
    stage: [
      ['server', dockerRules({ publishedPort: 9090, user: [`-s ${client}/32 -j ACCEPT`] })],
      ['server', inputDrop],
    ],
    heal: [['server', 'nft delete table inet lab']],
    listening: [server()],
    fix: 'command',
    rejects: /DOCKER-USER[\s\S]*/,
  },
];
