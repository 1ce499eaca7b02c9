// Which way a namespace sends a packet, by its rules and tables as they were read: what the kernel does in fib_rules_lookup and
// fib_table_lookup. Says which rule and route decided, which the kernel's own answer (route-get.ts) does not.
// Sources: ip-rule(8), ip-route(8), net/core/fib_rules.c (fib_rule_match).

import { type Address, bitsOf } from '../../model/address.ts';
import type { MachineNamespace, MachineRoute, MachineRule } from '../../model/machine.ts';

export interface RouteWish {
  readonly to: Address;
  readonly from?: Address;
  /** Absent: the packet begins here. */
  readonly iif?: string;
  readonly oif?: string;
  readonly mark?: number;
}

export type RouteDecision =
  | {
      readonly kind: 'route';
      readonly route: MachineRoute;
      readonly rule: MachineRule;
      readonly device?: string;
      readonly via?: Address;
    }
  | { readonly kind: 'refused'; readonly rule: MachineRule; readonly route?: MachineRoute; readonly how: string }
  | { readonly kind: 'none' }
  | { readonly kind: 'unknown'; readonly why: string };

export const localTable = 255;
/** Of routes and of rules. */
const refusals: ReadonlySet<string> = new Set(['blackhole', 'prohibit', 'unreachable']);

export function prefixHolds(prefix: { readonly address: Address; readonly prefixLength: number }, address: Address): boolean {
  if (prefix.address.family !== address.family) return false;
  const shift = BigInt(bitsOf(address.family) - prefix.prefixLength);
  return prefix.address.value >> shift === address.value >> shift;
}

function ruleMatches(rule: MachineRule, { to, from, iif, oif, mark = 0 }: RouteWish): boolean | undefined {
  const matches =
    (rule.to === undefined || prefixHolds(rule.to, to)) &&
    (rule.from === undefined || (from === undefined ? rule.from.prefixLength === 0 : prefixHolds(rule.from, from))) &&
    (rule.iif === undefined || rule.iif === (iif ?? 'lo')) &&
    (rule.oif === undefined || rule.oif === oif) &&
    (rule.mark === undefined || ((mark ^ rule.mark.value) & rule.mark.mask) === 0);
  if (rule.other !== undefined && matches !== rule.inverted) return undefined;
  return matches !== rule.inverted;
}

const usable = ({ hops }: MachineRoute): boolean => hops.length === 0 || hops.some(({ dead }) => !dead);

/** Of one table: the longest prefix, then the smallest metric; the kernel keeps equals in the order they were added. */
function lookUpTable(namespace: MachineNamespace, table: number, { to, oif }: RouteWish): MachineRoute | undefined {
  let best: MachineRoute | undefined;
  for (const route of namespace.routes) {
    if (route.table !== table || route.family !== to.family || !usable(route)) continue;
    if (!prefixHolds({ address: route.destination, prefixLength: route.prefixLength }, to)) continue;
    if (oif !== undefined && route.hops.length > 0 && !route.hops.some(({ device }) => device === oif)) continue;
    if (
      best === undefined ||
      route.prefixLength > best.prefixLength ||
      (route.prefixLength === best.prefixLength && route.metric < best.metric)
    )
      best = route;
  }
  return best;
}

export function decideRoute(namespace: MachineNamespace, wish: RouteWish): RouteDecision {
  const rules = namespace.rules.filter(({ family }) => family === wish.to.family).toSorted((a, b) => a.priority - b.priority);
  let from = 0;
  for (const rule of rules) {
    if (rule.priority < from) continue;
    const matches = ruleMatches(rule, wish);
    if (matches === undefined) return { kind: 'unknown', why: `whether this rule matches cannot be told: ${rule.text}` };
    if (!matches || rule.action === 'nop') continue;
    if (rule.action === 'goto') {
      from = Number(/goto (\d+)/.exec(rule.text)?.[1] ?? 0);
      continue;
    }
    if (refusals.has(rule.action)) return { kind: 'refused', rule, how: rule.action };
    if (rule.action !== 'lookup') return { kind: 'unknown', why: `where this rule leads cannot be told: ${rule.text}` };
    const route = lookUpTable(namespace, rule.table ?? 0, wish);
    if (!route || route.type === 'throw') continue;
    if (refusals.has(route.type)) return { kind: 'refused', rule, route, how: route.type };
    const hop = route.hops.find(({ dead, device }) => !dead && (wish.oif === undefined || device === wish.oif)) ?? route.hops[0];
    return {
      kind: 'route',
      route,
      rule,
      ...(hop?.device === undefined ? {} : { device: hop.device }),
      ...(hop?.via === undefined ? {} : { via: hop.via }),
    };
  }
  return { kind: 'none' };
}

/** Whether the namespace takes an address for its own: AnyIP ranges, 127/8 and addresses of links. */
export const isLocalAddress = (namespace: MachineNamespace, address: Address): boolean =>
  namespace.routes.some(
    ({ table, type, family, destination, prefixLength }) =>
      table === localTable &&
      type === 'local' &&
      family === address.family &&
      prefixHolds({ address: destination, prefixLength }, address),
  );

export function addressTypeOf(namespace: MachineNamespace, address: Address): string | undefined {
  const decision = decideRoute(namespace, { to: address });
  if (decision.kind === 'route') return decision.route.type;
  if (decision.kind === 'refused') return decision.how;
  return decision.kind === 'none' ? 'unreachable' : undefined;
}
