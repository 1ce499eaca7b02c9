// What the kernel must have counted or told while a packet met a fault: by this a prediction becomes an observation, or does not. Pure.
// Sources: the catalogue of faults in docs/doctor.md, include/net/dropreason-core.h.

import { renderAddress } from '../../model/address.ts';
import type { CauseId } from '../../model/diagnosis.ts';
import type { RulePlace } from '../../model/packet-filter.ts';
import { type Evidence, type Fault, rungs, type WalkHop } from './hop.ts';
import type { ProbeRun } from './probe-run.ts';
import { sameAddress } from './wire.ts';

/** Counters of the fault's namespace that must have grown, each list an alternative; `absent`: must not. */
const counted: Partial<Record<CauseId, { readonly grew?: readonly (readonly string[])[]; readonly absent?: readonly string[] }>> =
  {
    'service-not-listening': { grew: [['Tcp.OutRsts']] },
    'service-bound-loopback': { grew: [['Tcp.OutRsts']] },
    'service-v6only': { grew: [['Tcp.OutRsts']] },
    'dnat-target-not-listening': { grew: [['Tcp.OutRsts']] },
    'fw-reject-rst': { absent: ['Tcp.OutRsts'] },
    'fw-reject-icmp': { grew: [['IcmpMsg.OutType3'], ['Icmp6OutDestUnreachs']] },
    rpfilter: { grew: [['TcpExt.IPReversePathFilter']] },
    'no-return-route': { grew: [['Ip.OutNoRoutes'], ['Ip6OutNoRoutes'], ['TcpExt.ListenDrops']] },
    'return-route-blackhole': { grew: [['Ip.OutNoRoutes'], ['Ip6OutNoRoutes'], ['TcpExt.ListenDrops']] },
    'policy-rule-prohibit': { grew: [['Ip.OutNoRoutes'], ['Ip6OutNoRoutes'], ['TcpExt.ListenDrops']] },
    'forwarding-disabled': { grew: [['Ip.InAddrErrors'], ['Ip6InAddrErrors']] },
    'accept-queue-full': { grew: [['TcpExt.ListenOverflows']] },
    'return-route-captured-by-bridge': { grew: [['TcpExt.TCPSynRetrans']] },
    'policy-route-captured': { grew: [['TcpExt.TCPSynRetrans']] },
    'reply-lost-off-host': { grew: [['TcpExt.TCPSynRetrans']] },
    'app-abort': { grew: [['TcpExt.TCPAbortOnClose']] },
    'ipsec-policy': { grew: [['XfrmInPolBlock'], ['XfrmOutPolBlock'], ['XfrmFwdHdrError']] },
  };

/** The same of datagrams: what is told of resets and of handshakes is no word of them. */
const countedOfDatagrams: typeof counted = {
  'service-not-listening': { grew: [['Udp.NoPorts'], ['Udp6NoPorts']] },
  'service-bound-loopback': { grew: [['Udp.NoPorts'], ['Udp6NoPorts']] },
  'service-v6only': { grew: [['Udp.NoPorts'], ['Udp6NoPorts']] },
  'dnat-target-not-listening': { grew: [['Udp.NoPorts'], ['Udp6NoPorts']] },
  'fw-reject-icmp': counted['fw-reject-icmp'],
  rpfilter: counted.rpfilter,
  'forwarding-disabled': counted['forwarding-disabled'],
  'ipsec-policy': counted['ipsec-policy'],
};

/** Reasons of kfree_skb, and where it happens for a firewall: nft_do_chain against nf_hook_slow tells the backend. */
const dropped: Partial<Record<CauseId, { readonly reasons: readonly string[]; readonly location?: RegExp }>> = {
  'fw-rule-drop': { reasons: ['NETFILTER_DROP'], location: /nft|nf_hook/ },
  'docker-raw-isolation': { reasons: ['NETFILTER_DROP'], location: /nft|nf_hook/ },
  banned: { reasons: ['NETFILTER_DROP'] },
  'fw-legacy-drop': { reasons: ['NETFILTER_DROP'], location: /nf_hook_slow|ipt_do_table/ },
  'fw-reply-drop': { reasons: ['NETFILTER_DROP'] },
  'fw-rate-limit': { reasons: ['NETFILTER_DROP'] },
  'ct-invalid-asymmetric': { reasons: ['NETFILTER_DROP'] },
  'bridge-nf-drop': { reasons: ['NETFILTER_DROP'] },
  'nfqueue-no-consumer': { reasons: ['NETFILTER_DROP'] },
  'cgroup-bpf-deny': { reasons: ['BPF_CGROUP_EGRESS', 'SOCKET_FILTER', 'BPF_CGROUP_INGRESS'] },
  'ipsec-policy': { reasons: ['XFRM_POLICY'] },
  'qdisc-drop': { reasons: ['QDISC_DROP', 'QDISC_OVERLIMIT'] },
  rpfilter: { reasons: ['IP_RPFILTER'] },
  'dnat-target-down': { reasons: ['NEIGH_FAILED', 'NEIGH_QUEUEFULL'] },
  'return-route-captured-by-bridge': { reasons: ['NEIGH_FAILED', 'NEIGH_QUEUEFULL'] },
  'policy-route-captured': { reasons: ['NEIGH_FAILED', 'NEIGH_QUEUEFULL'] },
};

/** Nobody answers for an address: its neighbour entry says so. */
const unheard = new Set<CauseId>([
  'dnat-target-down',
  'next-hop-unreachable',
  'return-route-captured-by-bridge',
  'policy-route-captured',
]);

/** Something that counts what this fault does, whoever's packets they are. */
export type Meter =
  | { readonly kind: 'counter'; readonly name: string }
  | { readonly kind: 'rule'; readonly place: RulePlace }
  | { readonly kind: 'queue'; readonly device: string; readonly qdisc: string };

export interface Signal {
  /** Seen of this very flow. */
  readonly strong: boolean;
  /** false: a counter that this cause moves was read and stood still (or the other way round), and nothing was seen of this very flow. */
  readonly fits: boolean;
  /** What moved meanwhile: on a busy machine it may have been others. A meter of it is read again while the probe is repeated. */
  readonly meter?: Meter;
  readonly evidence: readonly Evidence[];
}

/** How what was measured during a probe fits the fault of a hop. */
export function signalOf(hop: WalkHop, run: ProbeRun): Signal {
  const evidence: Evidence[] = [];
  const { fault, namespace } = hop;
  if (!fault) return { strong: false, fits: true, evidence };
  const growth = run.growth.get(namespace.inode);
  const wanted = (run.transport === 'udp' ? countedOfDatagrams : counted)[fault.id];
  let fits = true;
  let strong = false;
  let meter: Meter | undefined;
  if (wanted && growth) {
    const found = wanted.grew?.find((names) => names.every((name) => (growth[name] ?? 0) > 0));
    if (found) {
      meter = { kind: 'counter', name: found[0] };
      evidence.push({ rung: rungs.counters, text: found.map((name) => `${name} +${growth[name]}`).join(', ') });
    } else if (wanted.grew) {
      fits = false;
      evidence.push({
        rung: rungs.counters,
        text: `${wanted.grew.map((names) => names.join(' and ')).join(', ')}: +0, and this cause moves one`,
      });
    }
    for (const name of wanted.absent ?? [])
      if ((growth[name] ?? 0) > 0) {
        fits = false;
        evidence.push({ rung: rungs.counters, text: `${name} +${growth[name]}: a socket here sent resets too` });
      } else evidence.push({ rung: rungs.counters, text: `${name} +0: no socket here sent that reset` });
  }
  const { rule, address, qdisc } = fault.parts;
  const passed = rule && run.rulePackets.get(ruleKey(namespace.inode, rule));
  if (rule && passed !== undefined && passed > 0) {
    meter = { kind: 'rule', place: rule };
    evidence.push({ rung: rungs.counters, text: `that rule matched ${passed} packets meanwhile` });
  }
  const place = rule ?? fault.parts.policyOf;
  const ending =
    place &&
    run.endings.find(
      ({ inode, family, table, chain }) =>
        inode === namespace.inode && family === place.family && table === place.table && chain === place.chain,
    );
  if (ending) {
    strong = true;
    evidence.push({
      rung: rungs.trace,
      text: `nft trace of this flow: ended in ${ending.family} ${ending.table} ${ending.chain}: ${ending.text}`,
    });
  }
  const after = run.after.get(namespace.inode);
  const neighbour = after?.neighbours.find(
    (entry) => address && sameAddress(entry.address, address) && /FAILED|INCOMPLETE/.test(entry.state),
  );
  if (neighbour && unheard.has(fault.id)) {
    strong = true;
    evidence.push({
      rung: rungs.probe,
      text: `neighbour ${renderAddress(neighbour.address)} dev ${neighbour.device} is ${neighbour.state} now`,
    });
  }
  const { cookie } = fault.parts.listener ?? {};
  const still = after?.listeners.find((one) => cookie !== undefined && one.cookie === cookie)?.acceptQueue;
  if (fault.id === 'accept-queue-full' && still && still.waiting > still.limit) {
    strong = true;
    evidence.push({
      rung: rungs.probe,
      text: `that socket’s accept queue is full still: ${still.waiting} wait, ${still.limit} may`,
    });
  }
  const queue = qdisc && after?.qdiscs.find(({ device, kind }) => device === qdisc.device && kind === qdisc.kind);
  if (qdisc && queue && queue.drops > qdisc.drops) {
    meter = { kind: 'queue', device: qdisc.device, qdisc: qdisc.kind };
    evidence.push({ rung: rungs.counters, text: `that queue dropped ${queue.drops - qdisc.drops} packets meanwhile` });
  }
  const drops = dropped[fault.id];
  const met =
    drops &&
    run.drops.filter(
      ({ reason, location }) => drops.reasons.includes(reason ?? '') && (drops.location?.test(location ?? '') ?? true),
    );
  if (met && met.length > 0) {
    evidence.push({
      rung: rungs.trace,
      text: `kfree_skb: ${met[0].reason} at ${met[0].location}, ${met.length} times on this machine meanwhile`,
    });
    fits = true;
  }
  // Resets of a run are those that went to the probe's own ports.
  const reset = run.resets.find(({ reason }) => reason === resetReason(fault));
  if (reset) {
    strong = true;
    evidence.push({ rung: rungs.trace, text: `tcp_send_reset: ${reset.reason}, to the probe` });
  }
  const { repeated } = run;
  if (repeated && repeated.hop === hop) {
    evidence.push({ rung: rungs.counters, text: repeated.text });
    strong ||= repeated.exact;
  }
  return { strong: strong && fits, fits: fits || strong, ...(fits && meter && { meter }), evidence };
}

const resetReason = ({ id, effect }: Fault): string | undefined =>
  id === 'app-abort' ? 'TCP_ABORT_ON_CLOSE' : effect === 'refused' && counted[id]?.grew ? 'NO_SOCKET' : undefined;

export const ruleKey = (
  inode: string,
  { backend, family, table, chain, handle }: { backend: string; family: string; table: string; chain: string; handle: number },
): string => `${inode} ${backend} ${family} ${table} ${chain} ${handle}`;
