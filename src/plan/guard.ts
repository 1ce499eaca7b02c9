// Refuses plans that would lock the owner out or take a living address. Pure: configuration and observed facts in,
// one error naming every mistake with its file, line and next step out. The rules that keep watch in the kernel
// afterwards are the guards in ruleset.ts.

import { WeirError } from '../base/errors.ts';
import type { ObservedFacts } from '../kernel/observe.ts';
import {
  type Address,
  type AddressRange,
  parseAddress,
  rangeHolds,
  rangesOverlap,
  renderAddress,
  renderRange,
  uniteRanges,
} from '../model/address.ts';
import { type Configuration, hostDiversions } from '../model/configuration.ts';
import type { DecoyGroup, Place } from '../model/decoy.ts';
import { hasPort } from '../model/port-set.ts';
import type { RelayState } from './desired-state.ts';
import { checkDoors, checkServices } from './guard-doors.ts';
import { checkNetworks } from './guard-network.ts';

/** One thing to correct. */
export interface PlanMistake {
  readonly file: string;
  readonly line: number;
  readonly mistake: string;
  readonly next: string;
}

/** The session from which Weir is driven: sshd's SSH_CONNECTION. See ssh(1), ENVIRONMENT. */
export interface OperatorSession {
  readonly client: Address;
  readonly port: number;
  /** This machine's end; absent where only the client is known. */
  readonly server?: Address;
}

/** `client-ip client-port server-ip server-port`; undefined when it does not parse. */
export function parseSshConnection(text: string | undefined): OperatorSession | undefined {
  const [client, , server, port] = (text ?? '').trim().split(/\s+/);
  const withoutZone = (address = ''): Address | undefined => parseAddress(address.replace(/%.*$/, ''));
  const [from, to] = [withoutZone(client), withoutZone(server)];
  const number = Number(port);
  if (!from || !Number.isInteger(number) || number < 1 || number > 65535) return undefined;
  return { client: from, port: number, ...(to ? { server: to } : {}) };
}

const text4 = (first: number, last: number): AddressRange => ({ family: 4, first: BigInt(first), last: BigInt(last) });

/** Addresses that no host has; RFC 6890 and RFC 4291. */
const impossible: readonly (AddressRange & { readonly what: string })[] = [
  { ...text4(0, 0x00ffffff), what: '"this network" (0.0.0.0/8)' },
  { ...text4(0x7f000000, 0x7fffffff), what: 'the loopback range (127.0.0.0/8)' },
  { ...text4(0xe0000000, 0xffffffff), what: 'multicast, reserved and broadcast addresses (224.0.0.0/3)' },
  { family: 6, first: 0n, last: 1n, what: 'the unspecified and loopback addresses (::/127)' },
  { family: 6, first: 0xfe80n << 112n, last: (0xfec0n << 112n) - 1n, what: 'link-local addresses (fe80::/10)' },
  { family: 6, first: 0xff00n << 112n, last: (1n << 128n) - 1n, what: 'multicast addresses (ff00::/8)' },
];

/** More mistakes than this are counted, not listed. */
const maxMistakes = 20;

/**
 * Throws `lock-out` with every mistake found, `config-invalid` when none of them could lock anybody out. `applied` is what is
 * relayed now: what listens for it is ours.
 */
export function checkLockOut(
  configuration: Configuration,
  facts: ObservedFacts,
  operator: OperatorSession | undefined,
  applied?: RelayState,
): void {
  const lockOuts: PlanMistake[] = [];
  const invalid: PlanMistake[] = [];
  for (const diversion of hostDiversions(configuration.diversions)) {
    const claimed = diversion.groups.filter((group) => group.kind === 'claimed');
    if (diversion.interface !== undefined || claimed.length > 0)
      checkInterface(diversion.interface, diversion.place, facts, invalid);
    for (const group of claimed) {
      checkClaimed(group, diversion.interface, facts, operator, lockOuts);
      for (const bad of impossible) {
        const found = group.ranges.find((range) => rangesOverlap(range, bad));
        if (found)
          invalid.push(at(group.place, `${renderRange(found)} holds ${bad.what}`, 'give addresses that a host could have'));
      }
    }
    for (const group of diversion.groups) if (group.kind === 'own') checkOwn(configuration, group, facts, operator, lockOuts);
  }
  checkNetworks(configuration, facts, operator, { lockOuts, invalid });
  checkDoors(configuration, facts, applied, invalid);
  checkServices(configuration, facts, invalid);
  const all = [...lockOuts, ...invalid];
  if (all.length === 0) return;
  const shown = all.slice(0, maxMistakes);
  const lines = shown.map(
    ({ file, line, mistake, next }) => `${file === '' ? '' : `${file}:${line}: `}${mistake}. Next: ${next}`,
  );
  if (all.length > shown.length) lines.push(`and ${all.length - shown.length} more`);
  throw new WeirError(lockOuts.length > 0 ? 'lock-out' : 'config-invalid', lines.join('\n'), {
    mistakes: shown,
    count: all.length,
  });
}

const at = (place: Place, mistake: string, next: string): PlanMistake => ({ file: place.file, line: place.line, mistake, next });

function checkInterface(name: string | undefined, place: Place, facts: ObservedFacts, mistakes: PlanMistake[]): void {
  if (name === undefined) {
    mistakes.push(at(place, 'decoys at addresses of their own need an interface', 'add `interface:`'));
    return;
  }
  const link = facts.links.find((candidate) => candidate.name === name);
  const names = facts.links.filter((candidate) => !candidate.loopback).map((candidate) => candidate.name);
  if (!link) mistakes.push(at(place, `there is no interface ${name} here`, `use one of: ${names.join(', ') || 'none exists'}`));
  else if (!link.up) mistakes.push(at(place, `interface ${name} is down`, `\`ip link set ${name} up\`, then plan again`));
}

function checkClaimed(
  group: DecoyGroup,
  link: string | undefined,
  facts: ObservedFacts,
  operator: OperatorSession | undefined,
  mistakes: PlanMistake[],
): void {
  const united = uniteRanges(group.ranges);
  const refuse = (address: Address, what: string): void => {
    const range = united.find((candidate) => rangeHolds(candidate, address));
    if (!range) return;
    const text = renderAddress(address);
    mistakes.push(
      at(
        group.place,
        range.first === range.last ? `${text} is ${what}` : `${renderRange(range)} holds ${text}, ${what}`,
        range.first === range.last ? 'remove it from the decoys' : `add \`exclude: [${text}]\` to these decoys`,
      ),
    );
  };
  for (const { name, addresses } of facts.links)
    for (const { address } of addresses)
      refuse(address, `this machine's own address on ${name}${name === link ? '' : ' (not even on the same link)'}`);
  for (const gateway of facts.gateways)
    refuse(gateway.address, `${gateway.isDefault ? 'the default gateway' : 'a gateway'} of ${gateway.interface}`);
  for (const resolver of facts.resolvers) refuse(resolver, 'a name server of this machine');
  if (operator) refuse(operator.client, 'where your own SSH session comes from');
}

/**
 * Ports in use on own addresses are never diverted, so a persona that promises one by number cannot keep its word; it
 * also shows that the writer did not expect to be sitting on it.
 */
function checkOwn(
  configuration: Configuration,
  group: DecoyGroup,
  facts: ObservedFacts,
  operator: OperatorSession | undefined,
  mistakes: PlanMistake[],
): void {
  const used = new Map<number, string>();
  for (const port of facts.sshPorts) used.set(port, 'the SSH server of this machine listens there');
  if (operator) used.set(operator.port, 'your own SSH session uses it');
  for (const { first, last } of configuration.management.ports)
    for (let port = first; port <= last && used.size < 4096; port += 1)
      if (!used.has(port)) used.set(port, 'it is a management port');
  for (const { diversion, ports, service, place } of configuration.relayBindings)
    for (const [port, why] of used)
      if (diversion === group.diversion && service !== 'catch-all' && ports && hasPort(ports, port))
        mistakes.push(
          at(
            place,
            `port ${port} of this machine's own addresses would lead to ${service}, but ${why}`,
            `leave port ${port} out: it is never diverted`,
          ),
        );
  for (const { persona: name } of group.population.shares) {
    const open = configuration.personas.get(name)?.tcp.open ?? [];
    // A persona with every port open means "whatever is free".
    if (open.length === 1 && open[0].first <= 1 && open[0].last === 65535) continue;
    for (const [port, why] of used)
      if (hasPort(open, port))
        mistakes.push(
          at(
            group.place,
            `persona ${name} would divert port ${port} of this machine's own addresses, but ${why}`,
            `use a persona without port ${port} here (all-open takes every port that is free), or give the decoys other addresses`,
          ),
        );
  }
}
