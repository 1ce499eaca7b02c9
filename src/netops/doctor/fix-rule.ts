// The smallest exception from a rule, as commands: one accept for one flow in front of what stops it, in the words of the tool that owns
// the rule, and what takes it away again. Text alone; whether it is run is the user's matter.

import { randomBytes } from 'node:crypto';
import { renderAddress } from '../../model/address.ts';
import type { MachineNamespace } from '../../model/machine.ts';
import type { FilterPacket, RulePlace } from '../../model/packet-filter.ts';
import type { FaultParts } from './hop.ts';

export interface Commands {
  readonly cmd: string;
  readonly undo: string;
  readonly scope: string;
}

/** Marks what one fix of ours made, so that its undo finds it and none of another's. */
const newComment = (): string => `weir-doctor-${randomBytes(6).toString('hex')}`;

/** For a shell: in single quotes unless there is nothing to quote. */
export const quoted = (text: string): string => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

/** Of what another program printed: each word for itself. */
export const quotedWords = (text: string): string =>
  text
    .split(/\s+/)
    .filter((word) => word !== '')
    .map(quoted)
    .join(' ');

/** What nft reads as a name (its scanner's `string`): its commands are one text, and anything else could be more of it than a name. */
const nftName = /^[A-Za-z_.][\w/.-]*$/;

/** Words for nft, which takes no quotes around names; undefined where one is none. */
export const nftPlace = (...names: readonly string[]): string | undefined =>
  names.every((name) => nftName.test(name)) ? names.join(' ') : undefined;

/** iptables on nft writes its rules by a form of its own: they are changed by iptables, not by nft. It knows these tables alone. */
export const isIptables = ({
  text = '',
  family,
  table,
  chain,
}: Pick<RulePlace, 'family' | 'table' | 'chain'> & { readonly text?: string }): boolean =>
  /^(?:\[\d+:\d+\] )?-A /.test(text.trim()) ||
  ((family === 'ip' || family === 'ip6') && /^(filter|nat|mangle|raw|security)$/.test(table) && /^[A-Z]/.test(chain));

function iptablesOf({ backend, family }: { backend: string; family: string }): string {
  const six = family === 'ip6';
  // Legacy tables are behind one lock, which another program may hold for a moment.
  return `ip${six ? '6' : ''}tables-${backend === 'legacy' ? 'legacy -w 10' : 'nft'}`;
}

/** What selects the flow at that place: as it is there, after what was rewritten before. `-m conntrack` names a published port. */
function iptablesMatch(packet: FilterPacket, anySource: boolean): string {
  const words: string[] = [];
  if (!anySource) words.push(`-s ${renderAddress(packet.source)}`);
  words.push(`-d ${renderAddress(packet.destination)}`);
  if (packet.protocol === 'icmp')
    words.push(packet.family === 4 ? '-p icmp --icmp-type fragmentation-needed' : '-p ipv6-icmp --icmpv6-type packet-too-big');
  else if (packet.direction === 'reply') words.push(`-p ${packet.protocol} --sport ${packet.sourcePort}`);
  else words.push(`-p ${packet.protocol} --dport ${packet.destinationPort}`);
  return words.join(' ');
}

function nftMatch(packet: FilterPacket, anySource: boolean): string {
  const ip = packet.family === 4 ? 'ip' : 'ip6';
  const words: string[] = [];
  if (!anySource) words.push(`${ip} saddr ${renderAddress(packet.source)}`);
  words.push(`${ip} daddr ${renderAddress(packet.destination)}`);
  if (packet.protocol === 'icmp')
    words.push(packet.family === 4 ? 'icmp type destination-unreachable icmp code frag-needed' : 'icmpv6 type packet-too-big');
  else if (packet.direction === 'reply') words.push(`${packet.protocol} sport ${packet.sourcePort}`);
  else words.push(`${packet.protocol} dport ${packet.destinationPort}`);
  return words.join(' ');
}

/** What the exception selects, in words. */
function flowWords({ family, protocol, destination, destinationPort, sourcePort, direction }: FilterPacket, who: string): string {
  const to = renderAddress(destination);
  if (protocol === 'icmp') return `ICMP${family === 4 ? ' "fragmentation needed"' : 'v6 "packet too big"'} from ${who} to ${to}`;
  return direction === 'reply'
    ? `${protocol} from ${who} port ${sourcePort} to any port of ${to}`
    : `${protocol} from ${who} to ${to} port ${destinationPort}`;
}

export function exceptionFrom(
  parts: FaultParts,
  options: { readonly anySource?: boolean; readonly position?: number } = {},
): Commands | undefined {
  const { packet, rule, policyOf } = parts;
  if (!packet) return undefined;
  const comment = newComment();
  const { anySource = false } = options;
  const who = anySource ? 'every source' : renderAddress(packet.source);
  const scope = `lets ${flowWords(packet, who)} past this chain; nothing else`;
  if (rule) {
    // Docker's chain for users: back to Docker's own rules, not past them.
    const target = rule.chain === 'DOCKER-USER' ? 'RETURN' : 'ACCEPT';
    if (rule.backend === 'legacy' || isIptables(rule)) {
      const tool = iptablesOf(rule);
      const position = rule.backend === 'legacy' ? rule.handle : (options.position ?? 1);
      const spec = `${iptablesMatch(packet, anySource)} -j ${target}`;
      const table = `-t ${quoted(rule.table)}`;
      return {
        cmd: `${tool} ${table} -I ${quoted(rule.chain)} ${position} ${spec}`,
        undo: `${tool} ${table} -D ${quoted(rule.chain)} ${spec}`,
        scope,
      };
    }
    const place = nftPlace(rule.family, rule.table, rule.chain);
    if (place === undefined) return undefined;
    return {
      cmd: `nft insert rule ${place} handle ${rule.handle} ${nftMatch(packet, anySource)} accept comment '"${comment}"'`,
      undo: undoNft(place, comment),
      scope,
    };
  }
  if (!policyOf) return undefined;
  if (policyOf.backend === 'legacy' || isIptables(policyOf)) {
    const spec = `${iptablesMatch(packet, anySource)} -j ACCEPT`;
    const tool = iptablesOf(policyOf);
    const table = `-t ${quoted(policyOf.table)}`;
    const chain = quoted(policyOf.chain);
    return { cmd: `${tool} ${table} -A ${chain} ${spec}`, undo: `${tool} ${table} -D ${chain} ${spec}`, scope };
  }
  const place = nftPlace(policyOf.family, policyOf.table, policyOf.chain);
  if (place === undefined) return undefined;
  return {
    cmd: `nft add rule ${place} ${nftMatch(packet, anySource)} accept comment '"${comment}"'`,
    undo: undoNft(place, comment),
    scope,
  };
}

const undoNft = (place: string, comment: string): string =>
  `nft delete rule ${place} handle $(nft -a list chain ${place} | sed -n 's/.*comment "${comment}" # handle //p')`;

/**
 * `nsenter` in front of each command, for a namespace this process is not in. It is looked at again from inside: a process's number may be
 * another's by then, and a name may have been given anew.
 */
export function insideNamespace({ path, inode }: Pick<MachineNamespace, 'path' | 'inode'>, command: string): string {
  if (path === undefined || command === '' || command.startsWith('#')) return command;
  const same = `[ "$(readlink /proc/self/ns/net)" = "net:[${inode}]" ]`;
  const script = `${same} || { echo "another network namespace is there now" >&2; exit 1; }; ${command}`;
  return `nsenter --net=${quoted(path)} -- sh -c ${quoted(script)}`;
}

export type { RulePlace };
