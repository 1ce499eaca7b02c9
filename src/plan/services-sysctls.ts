// Sysctls of the services namespace and of its devices. Data alone.

/** Sysctls of the services namespace, in order. Timeouts in seconds, see nf_conntrack-sysctl in the kernel's documentation. */
export const namespaceSysctls: readonly (readonly [string, string])[] = [
  ['net/ipv6/conf/default/accept_ra', '0'],
  ['net/ipv6/conf/default/accept_dad', '0'],
  ['net/ipv6/conf/default/forwarding', '1'],
  ['net/ipv6/conf/all/forwarding', '1'],
  ['net/ipv4/ip_forward', '1'],
  // Nothing is delivered here: looking for a socket, or at a checksum the service will look at, is in vain.
  ['net/ipv4/ip_early_demux', '0'],
  ['net/netfilter/nf_conntrack_checksum', '0'],
  ['net/ipv4/conf/all/rp_filter', '0'],
  ['net/ipv4/conf/all/send_redirects', '0'],
  ['net/ipv4/conf/all/accept_local', '1'],
  ['net/netfilter/nf_conntrack_acct', '1'],
  ['net/netfilter/nf_conntrack_timestamp', '1'],
  ['net/netfilter/nf_conntrack_tcp_timeout_syn_sent', '10'],
  ['net/netfilter/nf_conntrack_tcp_timeout_syn_recv', '10'],
  ['net/netfilter/nf_conntrack_tcp_timeout_established', '7200'],
  ['net/netfilter/nf_conntrack_tcp_timeout_time_wait', '5'],
  ['net/netfilter/nf_conntrack_tcp_timeout_close', '5'],
  ['net/netfilter/nf_conntrack_udp_timeout', '30'],
  ['net/netfilter/nf_conntrack_udp_timeout_stream', '60'],
  // Of dialled services: one attacker and one decoy have as many ports as there are, those of ended connections soon again.
  ['net/ipv4/ip_local_port_range', '1024\t65535'],
  ['net/ipv4/tcp_tw_reuse', '1'],
];

export const portSysctls = (link: string): readonly (readonly [string, string])[] => [
  [`net/ipv4/conf/${link}/rp_filter`, '0'],
  // The decoys' own rules answer for them; here nobody does.
  [`net/ipv4/conf/${link}/arp_ignore`, '8'],
];
export const legSysctls = (link: string): readonly (readonly [string, string])[] => [
  [`net/ipv4/conf/${link}/rp_filter`, '0'],
  [`net/ipv4/conf/${link}/arp_ignore`, '1'],
  [`net/ipv4/conf/${link}/arp_announce`, '2'],
];
