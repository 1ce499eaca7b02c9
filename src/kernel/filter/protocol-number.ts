// Names of protocols as iptables-save writes them (/etc/protocols), and their numbers. Pure.

const numbers: Readonly<Record<string, number>> = {
  all: 0,
  icmp: 1,
  igmp: 2,
  ipencap: 4,
  tcp: 6,
  udp: 17,
  dccp: 33,
  ipv6: 41,
  gre: 47,
  esp: 50,
  ah: 51,
  'ipv6-icmp': 58,
  icmpv6: 58,
  ospf: 89,
  pim: 103,
  vrrp: 112,
  sctp: 132,
  mh: 135,
  udplite: 136,
};

export const protocolNumber = (text: string): number | undefined => (/^\d+$/.test(text) ? Number(text) : numbers[text]);
