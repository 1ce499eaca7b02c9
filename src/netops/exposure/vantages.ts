// From where packets may come into a namespace: links that lead out of this machine, and those that lead to its containers; with
// addresses of the Internet, of private networks, of the link, and those that rules name. Pure.

import {
  type Address,
  type AddressRange,
  bitsOf,
  type Family,
  overlapRanges,
  parseAddress,
  parseRange,
  rangeHolds,
  renderAddress,
  renderRange,
} from '../../model/address.ts';
import type { Machine, MachineLink, MachineNamespace } from '../../model/machine.ts';
import type { FilterKey, FilterMatch, FilterRule, FilterSet, FilterStatement, PacketFilter } from '../../model/packet-filter.ts';
import type { Vantage } from './exposure-report.ts';

/** With the addresses it is walked with; a Vantage as text. */
export interface Standpoint extends Vantage {
  readonly namespace: MachineNamespace;
  readonly address: Address;
}

const asAddress = (text: string): Address => {
  const address = parseAddress(text);
  if (!address) throw new RangeError(`not an address: ${text}`);
  return address;
};

/** Three public hosts far apart: what is let in from all of them is let in from anywhere. */
export const publicSources: readonly Address[] = [
  '8.8.8.8',
  '151.101.65.69',
  '203.119.26.1',
  '2001:4860:4860::8888',
  '2a04:4e42::69',
  '2400:cb00::1',
].map(asAddress);
const privateSources: readonly Address[] = ['10.254.253.77', '172.30.253.77', '192.168.253.77', 'fd12:3456:789a::77'].map(
  asAddress,
);

/** RFC 6890, RFC 4193, RFC 6598, RFC 3927: not routed on the Internet. */
const notPublic: readonly AddressRange[] = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.168.0.0/16',
  '224.0.0.0/3',
  '::/127',
  'fc00::/7',
  'fe80::/10',
  'ff00::/8',
].map((text) => {
  const range = parseRange(text);
  if (!range) throw new RangeError(text);
  return range;
});

export const isPublic = (address: Address): boolean => !notPublic.some((range) => rangeHolds(range, address));

/** Whether something beyond this machine is behind it; of a bridge: behind one of its ports. `outside` are said to, in the namespace looked from. */
export function leadsOut(
  machine: Machine,
  namespace: MachineNamespace,
  link: MachineLink,
  outside: readonly string[] = [],
): boolean {
  if (link.name === 'lo' || !link.up) return false;
  if (namespace === machine.namespaces[0] && outside.includes(link.name)) return true;
  const isInside = (one: MachineLink): boolean => {
    if (one.kind === 'dummy' || one.kind === 'ifb') return true;
    if (one.kind !== 'veth') return false;
    // Whose other end cannot be seen: of a bridge's port most likely a container's, otherwise the way out of one.
    if (one.peer?.netns === undefined)
      return one.master !== undefined || namespace.links.some(({ index }) => index === one.peer?.index);
    return machine.namespaces.some(({ inode }) => inode === one.peer?.netns);
  };
  if (link.kind === 'bridge') return namespace.links.some((port) => port.master === link.name && !isInside(port));
  return !isInside(link);
}

const prefixRange = (address: Address, prefixLength: number): AddressRange => {
  const size = 1n << BigInt(bitsOf(address.family) - prefixLength);
  const first = address.value - (address.value % size);
  return { family: address.family, first, last: first + size - 1n };
};

/** Somebody else of the same subnet. */
function neighbourOf(address: Address, prefixLength: number, taken: ReadonlySet<string>): Address | undefined {
  const range = prefixRange(address, prefixLength);
  for (
    let value = range.last - (range.last - range.first > 1n ? 1n : 0n), tries = 0;
    value >= range.first && tries < 64;
    value -= 1n, tries += 1
  ) {
    const candidate = { family: address.family, value };
    if (value !== address.value && !taken.has(renderAddress(candidate))) return candidate;
  }
  return undefined;
}

/** Of one namespace: more are not walked with. */
export const maxListed = 32;
const maxCounted = 65_536;

export interface ListedSources {
  readonly sources: readonly { readonly address: Address; readonly range: string }[];
  /** Further ones that rules name; what a rule only refuses is not among them. */
  readonly left: number;
}

/** Whether a rule does nothing for whom it names but refuse them: the general public is let in no further than they are. */
const onlyRefuses = ({ statements }: FilterRule, match: FilterStatement): boolean => {
  const last = statements.at(-1)?.kind;
  const isPositive = match.kind === 'compare' ? match.operator === '==' : match.kind === 'set' && !match.inverted;
  return isPositive && (last === 'drop' || last === 'reject');
};

/** Public source addresses that rules compare with or look up: the ones somebody thought of. Whom a rule only refuses comes last. */
export function listedSources(filter: PacketFilter | undefined): ListedSources {
  const found = new Map<string, { address: Address; range: string }>();
  const left = new Set<string>();
  const take = (family: Family, key: FilterKey, isRefused: boolean): void => {
    const [part] = key;
    if (part === undefined || !('first' in part) || (found.size >= maxListed && (isRefused || left.size >= maxCounted))) return;
    const range: AddressRange = { family, first: part.first, last: part.last };
    const address = { family, value: part.first === part.last ? part.first : part.first + 1n };
    // What holds private addresses too is no list of public ones.
    if (!isPublic(address) || overlapRanges([range], [...notPublic]).length > 0 || part.last - part.first > 1n << 96n) return;
    const text = renderRange(range);
    if (found.size < maxListed) found.set(text, { address, range: text });
    else if (!found.has(text)) left.add(text);
  };
  const setOf = (name: string, table: string, family: string): FilterSet | undefined =>
    filter?.sets.find((set) =>
      set.backend === 'legacy' ? `ipset:${set.name}` === name : set.name === name && set.table === table && set.family === family,
    );
  // Many rules may look into one large set.
  const looked = new Set<FilterSet>();
  const visit = (match: FilterStatement | FilterMatch, { table, family }: FilterRule, isRefused: boolean): void => {
    if (match.kind === 'any') for (const one of match.of) visit(one, { table, family } as FilterRule, isRefused);
    if ((match.kind !== 'compare' && match.kind !== 'set') || match.left.kind !== 'field') return;
    const side = /^(ip6?)\.saddr$/.exec(match.left.field);
    if (!side) return;
    const of: Family = side[1] === 'ip' ? 4 : 6;
    if (match.kind === 'compare') {
      for (const key of match.right) take(of, key, isRefused);
      return;
    }
    const set = setOf(match.set, table, family);
    if (!set || looked.has(set)) return;
    looked.add(set);
    for (const { key } of set.elements) take(of, key, isRefused);
  };
  const rules = (filter?.chains ?? []).flatMap((chain) => chain.rules);
  for (const isRefused of [false, true])
    for (const rule of rules)
      for (const statement of rule.statements) if (onlyRefuses(rule, statement) === isRefused) visit(statement, rule, isRefused);
  return { sources: [...found.values()], left: left.size };
}

/** In words: places and sources of a namespace that nothing is walked from. */
export function notLookedFrom({ name, links, filter }: MachineNamespace): string[] {
  const where = name === '' ? '' : ` in ${name}`;
  const { left } = listedSources(filter);
  const words = left === 0 ? [] : [`${left} sources that rules name${where}, after the first ${maxListed}`];
  for (const { name: vrf } of links.filter(({ kind }) => kind === 'vrf')) {
    const ports = links.filter(({ master, up }) => master === vrf && up).map((link) => link.name);
    if (ports.length > 0) words.push(`who comes in by ${ports.join(', ')}${where}: ports of VRF ${vrf}`);
  }
  return words;
}

/** Where to look from at one namespace. */
export function standpointsOf(machine: Machine, namespace: MachineNamespace, outside: readonly string[] = []): Standpoint[] {
  const own = new Set(namespace.links.flatMap(({ addresses }) => addresses.map(({ address }) => renderAddress(address))));
  const subnets = namespace.links.flatMap(({ addresses }) =>
    addresses.map(({ address, prefixLength }) => prefixRange(address, prefixLength)),
  );
  // Whoever is on a link is asked for as such.
  const listed = listedSources(namespace.filter).sources.filter(
    ({ address }) => !subnets.some((subnet) => rangeHolds(subnet, address)),
  );
  const found: Standpoint[] = [];
  for (const link of namespace.links) {
    if (link.name === 'lo' || !link.up || link.master !== undefined) continue;
    const isOut = leadsOut(machine, namespace, link, outside);
    const add = (zone: Vantage['zone'], address: Address, range?: string): void => {
      found.push({
        netns: namespace.name,
        device: link.name,
        zone,
        source: renderAddress(address),
        ...(range === undefined ? {} : { range }),
        namespace,
        address,
      });
    };
    const families = new Set(link.addresses.map(({ address }) => address.family));
    for (const { address, prefixLength } of firstOfEachFamily(link)) {
      const neighbour = neighbourOf(address, prefixLength, own);
      if (neighbour) add(isOut ? 'link' : 'container', neighbour);
    }
    if (!isOut) continue;
    for (const address of publicSources) if (families.has(address.family)) add('public', address);
    for (const { address, range } of listed) if (families.has(address.family)) add('listed', address, range);
    for (const address of privateSources)
      if (families.has(address.family) && !subnets.some((subnet) => rangeHolds(subnet, address))) add('private', address);
  }
  return found;
}

const linkLocal: AddressRange = { family: 6, first: 0xfe80n << 112n, last: (0xfec0n << 112n) - 1n };

export const isLinkLocal = (address: Address): boolean => rangeHolds(linkLocal, address);

/** Link-local ones only where the link has no other of IPv6: who is on the link is asked with another one. */
const usableAddresses = ({ addresses }: MachineLink): MachineLink['addresses'] => {
  const wide = addresses.filter(({ address }) => !isLinkLocal(address));
  return wide.some(({ address }) => address.family === 6) ? wide : addresses;
};

export function firstOfEachFamily(link: MachineLink): MachineLink['addresses'] {
  const usable = usableAddresses(link);
  const first4 = usable.find(({ address }) => address.family === 4);
  const first6 = usable.find(({ address }) => address.family === 6);
  return [...(first4 ? [first4] : []), ...(first6 ? [first6] : [])];
}

/** Of one link: more are not dialled. */
export const maxOwnAddresses = 16;

/** Those of a link that are dialled: rules may tell each from the others. */
export function dialledAddresses(link: MachineLink): { readonly addresses: MachineLink['addresses']; readonly left: number } {
  const usable = usableAddresses(link);
  return { addresses: usable.slice(0, maxOwnAddresses), left: Math.max(0, usable.length - maxOwnAddresses) };
}

/** Routers pass nothing on to a link-local address (RFC 4291 section 2.5.6): only neighbours dial one. */
export const canDial = ({ address, zone }: Standpoint, destination: Address): boolean =>
  destination.family === address.family && (!isLinkLocal(destination) || zone === 'link' || zone === 'container');
