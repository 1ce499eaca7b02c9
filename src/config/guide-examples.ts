// Worked examples of docs/configuration.md, below `version: 1` each. A test parses every one: what the document shows works.

export const vlanExample = `diversions:
  - name: floor-3
    kind: network
    trunk: eth1
    vlan: 110
    address: [192.168.110.2/24, 10.110.0.2/16]     # two subnets in one VLAN
    gateway: 192.168.110.1
    decoys:
      - { addresses: 192.168.110.10-192.168.110.250, population: mixed-office, alive: 40%, seed: 7 }
      - { addresses: 10.110.0.0/16, population: plant, alive: 5% }
  - name: floor-4
    kind: network
    trunk: eth1
    vlan: 111
    address: [192.168.110.2/24, "2001:db8:111::2/64"]   # the same addresses again, on another floor
    gateway: [192.168.110.1, "fe80::1"]
    decoys:
      - { addresses: 192.168.110.0/24, population: mixed-office, alive: 30% }
      - { address: "2001:db8:111::25", persona: mail-server }
`;

export const staticVxlanExample = `diversions:
  - name: branch
    kind: network
    vxlan: { vni: 10, local: 10.0.0.1, remotes: [10.0.0.2, 10.0.0.3] }
    address: 172.20.0.2/16
    decoys: [{ addresses: 172.20.0.0/16, population: data-centre, alive: 10% }]
`;

export const evpnExample = `diversions:
  - name: rack-7
    kind: network
    vxlan:
      vni: 10007
      local: 10.0.0.1
      evpn: { asn: 65001, peers: [10.0.0.254, { address: 10.0.0.253, asn: 65000 }] }
    address: 10.7.0.2/24
    gateway: 10.7.0.1
    decoys: [{ addresses: 10.7.0.0/24, population: data-centre, alive: 60% }]
`;

export const claimExample = `diversions:
  - name: dmz
    kind: host
    interface: eth0
    decoys:
      - { addresses: 10.66.0.0/17, persona: linux-server }
      - { addresses: 10.67.0.8-10.67.0.15, persona: nas, claim: macvlan }
      - { address: 10.67.0.20, persona: printer, claim: address }
`;

export const bindingExample = `diversions:
  - name: floor-3
    kind: network
    trunk: eth1
    vlan: 110
    address: 192.168.110.2/24
    gateway: 192.168.110.1
    decoys: [{ addresses: 192.168.110.10-192.168.110.250, persona: windows-workstation }]
services:
  - { name: win, kind: external, path: kernel, address: 10.1.0.9, interface: eth2, from: 10.1.0.1/24 }
bindings:                         # the most specific wins; what is not bound goes to catch-all
  - { diversion: floor-3, addresses: [192.168.110.32/28], service: win }
  - { diversion: floor-3, addresses: [192.168.110.40], service: catch-all }
`;

export const relayExample = `diversions:
  - name: dmz
    kind: host
    interface: eth0
    decoys: [{ addresses: 10.66.0.0/24, persona: linux-server }]
  - name: front
    kind: proxy                   # any HAProxy, nginx or load balancer that speaks PROXY v1/v2
    listen: 0.0.0.0:7000
    allow: [192.0.2.10]
services:
  - { name: ssh, kind: external, address: "10.1.0.9:2222", proxy-protocol: false }
  - { name: web, kind: external, address: 10.1.0.10, proxy-protocol: true }     # at the decoy's own port
  - { name: win, kind: external, address: 10.2.0.9, path: transparent, interface: eth2, from: 10.2.0.1/24 }
bindings:
  - { diversion: dmz, ports: [80, 8080], service: web }
  - { diversion: dmz, ports: [22], protocol: tcp, service: ssh }
  - { diversion: dmz, addresses: [10.66.0.32/28], ports: [445], service: win }
  - { diversion: front, service: web }
`;

export const agentExample = `agents: { listen: 0.0.0.0:7443, names: [weir.example.org] }
diversions:
  - name: branch
    kind: agent
    agent: branch-1
    listen: { ports: [23, 445, 3389, 8000-8100], udp-ports: [161] }
  - name: branch-lan              # a whole range, run by an agent with privileges on its own machine
    kind: host
    agent: branch-1
    interface: eth0
    decoys: [{ addresses: 10.99.0.0/24, population: mixed-office, alive: 40% }]
`;

export const chainExample = `agents: { listen: 0.0.0.0:7443 }
diversions:
  - name: dmz
    kind: host
    interface: eth0
    decoys: [{ addresses: 10.66.0.0/24, persona: linux-web }]
gateways:
  - { name: vm-1, address: 10.8.0.2:7000 }
services:
  - { name: shop, kind: external, address: 172.17.0.2, via: vm-1 }      # as seen from vm-1
bindings:
  - { diversion: dmz, ports: [80, 443], service: shop }
`;
