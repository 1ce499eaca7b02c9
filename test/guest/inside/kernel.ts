// That the guest's kernel has what the other programs here are for.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withLab } from '../../../src/kernel/namespace-lab.ts';

test('802.1Q, VLAN filtering, VXLAN with VNI filtering and macvlan, in a namespace', () =>
  withLab(async (lab) => {
    const place = await lab.namespace('k');
    await place.ip(
      [
        'link add t0 type veth peer name t1',
        'link add link t0 name t0.110 type vlan id 110',
        'link add br0 type bridge vlan_filtering 1 vlan_default_pvid 0',
        'link set t1 master br0',
        'link add vx0 type vxlan external vnifilter local 192.0.2.1 dstport 4789 nolearning',
        'link set vx0 master br0',
        'link add link t0 name m0 type macvlan mode bridge',
        '',
      ].join('\n'),
    );
    await place.run(['bridge', 'vlan', 'add', 'vid', '110', 'dev', 't1']);
    await place.run(['bridge', 'link', 'set', 'dev', 'vx0', 'vlan_tunnel', 'on']);
    await place.run(['bridge', 'vni', 'add', 'vni', '10110', 'dev', 'vx0']);
    await place.run(['bridge', 'vlan', 'add', 'vid', '110', 'dev', 'vx0']);
    await place.run(['bridge', 'vlan', 'add', 'dev', 'vx0', 'vid', '110', 'tunnel_info', 'id', '10110']);
    assert.match((await place.run(['bridge', 'vlan', 'show', 'dev', 't1'])).stdout, /110/);
    assert.match((await place.run(['bridge', 'vlan', 'tunnelshow'])).stdout, /10110/);
  }));

test('the rules Weir writes load: tproxy, socket, hash, log, reject, netdev', () =>
  withLab(async (lab) => {
    const place = await lab.namespace('n');
    await place.ip('link add e0 type veth peer name e1\n');
    await place.nft(`
table inet weir {
  chain in {
    type filter hook prerouting priority mangle; policy accept;
    meta l4proto tcp socket transparent 1 meta mark set 0x57 accept
    jhash ip daddr mod 100 seed 7 vmap { 0-49 : drop }
    log group 87 prefix "probe"
    meta l4proto tcp tproxy ip to 127.0.0.1:5000 accept
  }
  chain refuse {
    type filter hook prerouting priority filter; policy accept;
    fib daddr type local meta l4proto tcp reject with tcp reset
  }
}
table netdev weir {
  chain out {
    type filter hook egress device e0 priority 0; policy accept;
    ether saddr set 00:0c:29:00:00:01
    @ll,72,24 set @nh,104,24 ^ 0x5a3c11
  }
}
`);
    assert.match((await place.run(['nft', 'list', 'ruleset'])).stdout, /jhash ip daddr mod 100/);
  }));
