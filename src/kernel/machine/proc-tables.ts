// Small tables below /proc of one network namespace: protocol counters, sysctls that decide about packets, consumers of NFQUEUE. The parsers are
// pure; whoever reads is inside the namespace already (insideNetns).
// Sources: proc(5), Documentation/networking/ip-sysctl.rst, net/netfilter/nfnetlink_queue.c.

import { readdirSync, readFileSync } from 'node:fs';
import type { QueueConsumer } from '../../model/machine.ts';

const readText = (path: string): string | undefined => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
};

/** snmp and netstat: two lines each, names and values. `Tcp.OutRsts`. */
export function parsePairedCounters(text: string): Record<string, number> {
  const counters: Record<string, number> = {};
  const lines = text.split('\n');
  for (let at = 0; at + 1 < lines.length; at += 2) {
    const names = lines[at].split(' ');
    const values = lines[at + 1].split(' ');
    if (names[0] !== values[0]) continue;
    const group = names[0].slice(0, -1);
    for (let index = 1; index < names.length; index += 1) counters[`${group}.${names[index]}`] = Number(values[index]);
  }
  return counters;
}

/** snmp6, xfrm_stat: a name and a value a line, kept as they are: `Ip6InNoRoutes`. */
export function parseListedCounters(text: string): Record<string, number> {
  const counters: Record<string, number> = {};
  for (const line of text.split('\n')) {
    const match = /^(\S+)\s+(\d+)$/.exec(line);
    if (match) counters[match[1]] = Number(match[2]);
  }
  return counters;
}

/** Of the namespace the calling thread is in. */
export const readCounters = (): Record<string, number> => ({
  ...parsePairedCounters(readText('/proc/thread-self/net/snmp') ?? ''),
  ...parsePairedCounters(readText('/proc/thread-self/net/netstat') ?? ''),
  ...parseListedCounters(readText('/proc/thread-self/net/snmp6') ?? ''),
  ...parseListedCounters(readText('/proc/thread-self/net/xfrm_stat') ?? ''),
});

/** One line a queue: number, who reads, waiting, mode, range, dropped for want of room, dropped by the reader's fault. */
export function parseQueueConsumers(text: string): QueueConsumer[] {
  const consumers: QueueConsumer[] = [];
  for (const line of text.split('\n')) {
    const fields = line.trim().split(/\s+/).map(Number);
    if (fields.length < 8 || fields.some(Number.isNaN)) continue;
    consumers.push({ queue: fields[0], portId: fields[1], waiting: fields[2], dropped: fields[5] + fields[6] });
  }
  return consumers;
}

/** Undefined where the caller may not see them. Without the file the kernel has no such queues, so that nobody reads one. */
export function readQueueConsumers(path = '/proc/thread-self/net/netfilter/nfnetlink_queue'): QueueConsumer[] | undefined {
  try {
    return parseQueueConsumers(readFileSync(path, 'utf8'));
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? [] : undefined;
  }
}

const fixedKeys = [
  'net/core/somaxconn',
  'net/ipv4/ip_forward',
  'net/ipv4/ip_nonlocal_bind',
  'net/ipv4/ip_local_port_range',
  'net/ipv4/ip_local_reserved_ports',
  'net/ipv4/ip_no_pmtu_disc',
  'net/ipv4/ip_early_demux',
  'net/ipv4/fwmark_reflect',
  'net/ipv4/icmp_echo_ignore_all',
  'net/ipv4/icmp_ratelimit',
  'net/ipv4/tcp_syncookies',
  'net/ipv4/tcp_max_syn_backlog',
  'net/ipv4/tcp_abort_on_overflow',
  'net/ipv4/tcp_mtu_probing',
  'net/ipv4/tcp_fwmark_accept',
  'net/ipv4/tcp_tw_reuse',
  'net/ipv4/tcp_challenge_ack_limit',
  'net/ipv6/bindv6only',
  'net/netfilter/nf_conntrack_acct',
  'net/netfilter/nf_conntrack_count',
  'net/netfilter/nf_conntrack_max',
  'net/netfilter/nf_conntrack_tcp_be_liberal',
  'net/netfilter/nf_conntrack_tcp_loose',
  'net/bridge/bridge-nf-call-iptables',
  'net/bridge/bridge-nf-call-ip6tables',
  'net/bridge/bridge-nf-call-arptables',
  'net/bridge/bridge-nf-filter-vlan-tagged',
];
const deviceKeys4 = [
  'forwarding',
  'rp_filter',
  'src_valid_mark',
  'accept_local',
  'route_localnet',
  'arp_ignore',
  'arp_filter',
  'arp_announce',
  'proxy_arp',
  'disable_policy',
  'disable_xfrm',
];
const deviceKeys6 = ['forwarding', 'disable_ipv6', 'accept_ra', 'accept_dad', 'proxy_ndp'];
/** Devices whose own settings are read. */
const maxDevices = 1024;

/** Those that decide what becomes of a packet, of the namespace the calling thread is in; what a kernel lacks is absent. */
export function readNetworkSysctls(): { sysctls: Record<string, string>; complete: boolean } {
  const sysctls: Record<string, string> = {};
  const read = (key: string): void => {
    const text = readText(`/proc/sys/${key}`);
    if (text !== undefined) sysctls[key] = text.trim();
  };
  for (const key of fixedKeys) read(key);
  let complete = true;
  for (const [family, keys] of [
    ['ipv4', deviceKeys4],
    ['ipv6', deviceKeys6],
  ] as const) {
    let devices: string[] = [];
    try {
      devices = readdirSync(`/proc/sys/net/${family}/conf`);
    } catch {
      continue;
    }
    if (devices.length > maxDevices) complete = false;
    for (const device of devices.slice(0, maxDevices)) for (const key of keys) read(`net/${family}/conf/${device}/${key}`);
  }
  return { sysctls, complete };
}
