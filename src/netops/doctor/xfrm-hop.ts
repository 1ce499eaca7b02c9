// What IPsec policies do to a packet: the first that selects it, by priority. Templates (what must be encrypted) are told, not judged:
// whether the other end keeps to them is not written here.
// Source: ip-xfrm(8), net/xfrm/xfrm_policy.c.

import { type Address, bitsOf, parseAddress } from '../../model/address.ts';
import type { MachineNamespace } from '../../model/machine.ts';
import type { FilterPacket } from '../../model/packet-filter.ts';
import { seen, type WalkHop } from './hop.ts';
import { prefixHolds } from './route-decision.ts';

interface Policy {
  readonly source: { address: Address; prefixLength: number };
  readonly destination: { address: Address; prefixLength: number };
  readonly direction: string;
  readonly block: boolean;
  readonly priority: number;
  readonly template: boolean;
  readonly protocol?: string;
  readonly sourcePort?: number;
  readonly port?: number;
  readonly text: string;
}

function parsePrefix(text: string): { address: Address; prefixLength: number } | undefined {
  const [host, length] = text.split('/');
  const address = parseAddress(host);
  return address && { address, prefixLength: length === undefined ? bitsOf(address.family) : Number(length) };
}

/** One of `ip xfrm policy`; undefined for those of sockets and what does not parse. */
export function parsePolicy(text: string): Policy | undefined {
  const match = /^\s*src (\S+) dst (\S+)/.exec(text);
  const source = match && parsePrefix(match[1]);
  const destination = match && parsePrefix(match[2]);
  const direction = /\bdir (in|out|fwd)\b/.exec(text)?.[1];
  if (!source || !destination || !direction) return undefined;
  const protocol = /\bproto (\S+)/.exec(text.split('\n')[0])?.[1];
  const ports = { sourcePort: /\bsport (\d+)/.exec(text)?.[1], port: /\bdport (\d+)/.exec(text)?.[1] };
  return {
    source,
    destination,
    direction,
    block: /\baction block\b/.test(text),
    priority: Number(/\bpriority (\d+)/.exec(text)?.[1] ?? 0),
    template: /\btmpl\b/.test(text),
    ...(protocol && { protocol }),
    ...(ports.sourcePort && { sourcePort: Number(ports.sourcePort) }),
    ...(ports.port && { port: Number(ports.port) }),
    text: text.trim().replace(/\s+/g, ' '),
  };
}

const protocolNumbers: Readonly<Record<FilterPacket['protocol'], string>> = { tcp: '6', udp: '17', icmp: '1' };

const selects = (policy: Policy, packet: FilterPacket): boolean =>
  prefixHolds(policy.source, packet.source) &&
  prefixHolds(policy.destination, packet.destination) &&
  (policy.protocol === undefined ||
    policy.protocol === packet.protocol ||
    policy.protocol === protocolNumbers[packet.protocol]) &&
  (policy.sourcePort === undefined || policy.sourcePort === packet.sourcePort) &&
  (policy.port === undefined || policy.port === packet.destinationPort);

export function xfrmHop(
  namespace: MachineNamespace,
  direction: 'in' | 'out' | 'fwd',
  packet: FilterPacket,
  way: 'there' | 'back',
): WalkHop[] {
  if (namespace.xfrmPolicies === undefined)
    return [{ layer: 'xfrm', namespace, way, state: 'not-measured', detail: 'IPsec policies could not be read', evidence: [] }];
  const [policy] = namespace.xfrmPolicies
    .flatMap((text) => parsePolicy(text) ?? [])
    .filter((candidate) => candidate.direction === direction && selects(candidate, packet))
    .sort((a, b) => a.priority - b.priority);
  if (!policy) return [];
  const base = { layer: 'xfrm', namespace, way, evidence: [seen(policy.text)] };
  if (policy.block) {
    const detail = `an IPsec policy blocks it: ${policy.text}`;
    return [
      {
        ...base,
        state: 'fail',
        detail,
        fault: { id: 'ipsec-policy', certain: true, effect: 'silence', detail, parts: { policy: policy.text, packet } },
      },
    ];
  }
  if (policy.template)
    return [{ ...base, state: 'unknown', detail: 'an IPsec policy wants this encrypted; whether both ends do is not seen here' }];
  return [{ ...base, state: 'pass', detail: 'an IPsec policy lets it through' }];
}
