// What a namespace's routes, rules and their sysctls mean for a packet: it stays, it leaves by a device, or it ends and why. Pure.
// Which route it is: route-decision.ts; who is behind the device: wire.ts.

import { type Address, renderAddress } from '../../model/address.ts';
import type { Machine, MachineLink, MachineNamespace } from '../../model/machine.ts';
import type { FilterPacket } from '../../model/packet-filter.ts';
import { type FaultParts, type FaultWords, type HopWords, seen } from './hop.ts';
import { decideRoute, isLocalAddress, localTable, type RouteDecision } from './route-decision.ts';
import { findOnWire, linkNamed, sameAddress } from './wire.ts';

export type Leaving = { readonly local: true } | { readonly local: false; readonly device: string; readonly via?: Address };

export interface RouteCase {
  readonly machine: Machine;
  readonly namespace: MachineNamespace;
  readonly packet: FilterPacket;
  readonly decision: RouteDecision;
  readonly way: 'there' | 'back';
  readonly iif?: string;
  /** Of what goes back: the device its question came in by, and who handed it over. */
  readonly cameBy?: string;
  readonly gateway?: Address;
}

/** `main` and `default` are where routes belong; another table was chosen by a rule somebody made. */
const ordinary = new Set([localTable, 254, 253]);

export function judgeRoute(given: RouteCase): HopWords & { readonly leaving?: Leaving } {
  const { namespace, packet, decision, way, iif, cameBy, gateway } = given;
  const to = renderAddress(packet.destination);
  const back = way === 'back';
  const parts: FaultParts = {
    address: packet.destination,
    ...(gateway && { gateway }),
    ...(cameBy && { inputDevice: cameBy }),
  };
  const failed = (fault: FaultWords, dev = iif): HopWords => ({
    layer: 'route',
    ...(dev !== undefined && { dev }),
    state: 'fail',
    detail: fault.detail,
    fault,
  });
  if (decision.kind === 'unknown') return { layer: 'route', state: 'unknown', detail: decision.why };
  if (decision.kind === 'none')
    return failed({
      id: back ? 'no-return-route' : 'no-route-to-destination',
      detail: back ? `there is no route back to ${to}: the answer is never made` : `there is no route to ${to}`,
      effect: back ? 'silence' : 'unreachable',
      parts,
    });
  if (decision.kind === 'refused') {
    const text = decision.route ? `route ${decision.route.text}` : `rule ${decision.rule.text}`;
    return failed({
      id: !back ? 'no-route-to-destination' : decision.route ? 'return-route-blackhole' : 'policy-rule-prohibit',
      detail: `${back ? 'what would go back' : 'what goes'} to ${to} is refused by ${text}`,
      effect: back ? 'silence' : 'unreachable',
      parts: {
        ...parts,
        rulePriority: decision.rule.priority,
        ruleAction: decision.how,
        ruleText: decision.rule.text,
        ...(decision.route && { prefixLength: decision.route.prefixLength, table: decision.route.table }),
      },
    });
  }
  const { route, rule, device, via } = decision;
  if (route.type === 'local')
    return {
      layer: 'route',
      ...(iif !== undefined && { dev: iif }),
      state: 'pass',
      detail: `${to} is here`,
      leaving: { local: true },
    };
  if (device === undefined) return { layer: 'route', state: 'unknown', detail: `route ${route.text} names no device` };
  if (via && isLocalAddress(namespace, via)) {
    const owner = namespace.links.find(({ addresses }) => addresses.some(({ address }) => sameAddress(address, via)));
    return failed(localGateway(via, owner, parts), owner?.name ?? device);
  }
  if (back && cameBy !== undefined && device !== cameBy) {
    const fault = captured(given, decision, cameBy, parts);
    if (fault) return failed(fault, device);
  }
  const table = rule.table !== undefined && !ordinary.has(rule.table) ? `, table ${rule.table}` : '';
  return {
    layer: 'route',
    dev: device,
    state: 'pass',
    detail: `to ${to} by ${device}${via ? ` via ${renderAddress(via)}` : ''}${table}`,
    leaving: { local: false, device, ...(via && { via }) },
  };
}

/** A gateway's address that the namespace has itself: it hears nobody's questions for it, and answers none of the gateway's. */
export const localGateway = (via: Address, owner: MachineLink | undefined, parts: FaultParts = {}): FaultWords => ({
  id: 'gateway-ip-is-local',
  detail: `the gateway ${renderAddress(via)} is an address of this namespace itself${owner ? `, on ${owner.name}` : ''}: nothing reaches the real one, and its questions are not answered`,
  effect: 'silence',
  parts: {
    ...parts,
    address: via,
    ...(owner && { link: owner }),
    ...(owner && { prefixLength: owner.addresses.find(({ address }) => sameAddress(address, via))?.prefixLength ?? 32 }),
  },
});

/** The answer would leave by another device than its question came in by, and nobody is there. */
function captured(
  { machine, namespace, packet }: RouteCase,
  { rule, route, device, via }: Extract<RouteDecision, { kind: 'route' }>,
  cameBy: string,
  parts: FaultParts,
): FaultWords | undefined {
  const link = linkNamed(namespace, device);
  if (!link || device === undefined) return undefined;
  const search = findOnWire(machine, { namespace, link }, { address: via ?? packet.destination });
  if (search.landing) return undefined;
  const to = renderAddress(packet.destination);
  const certain = search.leaves.length === 0;
  const where = `goes out by ${device}, not by ${cameBy}, where its question came from`;
  if (rule.table !== undefined && !ordinary.has(rule.table))
    return {
      id: 'policy-route-captured',
      certain,
      detail: `the answer to ${to} ${where}: rule ${rule.text} sends it to table ${rule.table}, whose route ${route.text} takes it${certain ? '; nobody has that address there' : ''}`,
      effect: 'silence',
      parts: { ...parts, rulePriority: rule.priority, ruleText: rule.text, ruleAction: 'lookup', inputDevice: cameBy },
    };
  if (link.kind !== 'bridge' || via) return undefined;
  return {
    id: 'return-route-captured-by-bridge',
    certain,
    detail: `the answer to ${to} ${where}: the network ${renderAddress(route.destination)}/${route.prefixLength} of bridge ${device} covers that address${certain ? ', and nobody has it there' : ''}`,
    effect: 'silence',
    parts: { ...parts, link, prefixLength: route.prefixLength, inputDevice: cameBy },
  };
}

/** What no host takes from a wire: loopback addresses, and its own as a source. Source: net/ipv4/route.c, ip_route_input_slow. */
export function checkMartian(namespace: MachineNamespace, iif: string, packet: FilterPacket): HopWords | undefined {
  if (iif === 'lo') return undefined;
  const loopback = ({ family, value }: Address): boolean => (family === 4 ? value >> 24n === 127n : value === 1n);
  const allows = (key: string): boolean =>
    ['all', iif].some((device) => namespace.sysctls[`net/ipv4/conf/${device}/${key}`] === '1');
  const why =
    (loopback(packet.destination) || loopback(packet.source)) && !allows('route_localnet')
      ? `a loopback address never comes in by ${iif}`
      : isLocalAddress(namespace, packet.source) && !allows('accept_local')
        ? `${renderAddress(packet.source)} is an address of this namespace itself: what comes in with it by ${iif} is dropped`
        : undefined;
  if (why === undefined) return undefined;
  return {
    layer: 'route',
    dev: iif,
    state: 'fail',
    detail: why,
    fault: { id: 'martian-address', detail: why, effect: 'silence', parts: { inputDevice: iif } },
  };
}

/** RFC 3704 as net/ipv4/fib_frontend.c has it: the larger of `all` and the device's own counts. */
export function checkReversePath(namespace: MachineNamespace, iif: string, packet: FilterPacket): HopWords | undefined {
  if (packet.family !== 4) return undefined;
  const value = (device: string): number => Number(namespace.sysctls[`net/ipv4/conf/${device}/rp_filter`] ?? 0);
  const mode = Math.max(value('all'), value(iif));
  if (mode === 0 || iif === 'lo') return undefined;
  // The mark counts only where it is asked to: __fib_validate_source, IN_DEV_SRC_VMARK.
  const marked = ['all', iif].some((device) => namespace.sysctls[`net/ipv4/conf/${device}/src_valid_mark`] === '1');
  const back = decideRoute(namespace, { to: packet.source, from: packet.destination, mark: marked ? packet.mark : 0 });
  if (back.kind === 'unknown') return undefined;
  if (back.kind === 'route' && (mode === 2 || back.route.hops.some(({ device }) => device === iif))) return undefined;
  const goes = back.kind === 'route' ? `goes out by ${back.device ?? back.route.type}` : 'has no route';
  const detail = `rp_filter ${mode} on ${iif}: what would answer ${renderAddress(packet.source)} ${goes}, so what comes from there by ${iif} is dropped`;
  return {
    layer: 'route',
    dev: iif,
    state: 'fail',
    detail,
    evidence: [
      seen(`net.ipv4.conf.all.rp_filter = ${value('all')}, net.ipv4.conf.${iif}.rp_filter = ${value(iif)}: the larger counts`),
      ...(back.kind === 'route' ? [seen(`route back: ${back.route.text}`)] : []),
    ],
    fault: { id: 'rpfilter', detail, effect: 'silence', parts: { inputDevice: iif } },
  };
}

const forwardingKey = (device: string, { family }: FilterPacket): string =>
  family === 4 ? `net/ipv4/conf/${device}/forwarding` : 'net/ipv6/conf/all/forwarding';

/** What is not read counts as on: it is not what stops a packet. */
export const forwards = ({ sysctls }: MachineNamespace, iif: string, packet: FilterPacket): boolean =>
  sysctls[forwardingKey(iif, packet)] !== '0';

export function checkForwarding(
  namespace: MachineNamespace,
  iif: string,
  packet: FilterPacket,
  oif?: string,
): HopWords | undefined {
  if (forwards(namespace, iif, packet)) return undefined;
  const rewritten = packet.originalDestination ? ', behind a rule that rewrites its destination' : '';
  const detail = `this namespace forwards nothing that comes in by ${iif} (ip_forward is off)${rewritten}: ${renderAddress(packet.destination)} is not its own`;
  const devices = [iif, ...(oif !== undefined && !forwards(namespace, oif, packet) ? [oif] : [])];
  return {
    layer: 'route',
    dev: iif,
    state: 'fail',
    detail,
    evidence: [
      seen(
        `${forwardingKey(iif, packet).replaceAll('/', '.')} = 0, net.ipv4.ip_forward = ${namespace.sysctls['net/ipv4/ip_forward'] ?? '?'}`,
      ),
    ],
    fault: { id: 'forwarding-disabled', detail, effect: 'silence', parts: { inputDevice: iif, packet, devices } },
  };
}
