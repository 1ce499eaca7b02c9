// DNS and its relatives over UDP. A name server's answer to strangers is as long as the question: a refusal, or "ask again
// over TCP"; to hosts of the segment itself, and only to those, it is the name (docs/decisions/0014). LLMNR, mDNS and NetBIOS
// names are answered on the link or not at all. What goes to whom is datagram-table.ts.
// Sources: RFC 1035 section 4.1, RFC 4795 section 2, RFC 6762 sections 6 and 11, RFC 1002 section 4.2.

import { type Address, addressBytes, parseAddress } from '../../model/address.ts';
import {
  classInternet,
  type DnsQuery,
  type DnsQuestion,
  type DnsRecord,
  dnsTypes,
  parseDnsQuery,
  renderDnsAnswer,
  renderName,
} from '../../model/dns-message.ts';
import { localDomain, netbiosName } from '../../model/host-name.ts';
import { llmnrPort, mdnsPort, type NameBook, netbiosPort, parseReverseName } from '../../model/name-book.ts';
import { parseNetbiosQuestion, renderNetbiosAddress, renderNetbiosStatus } from '../../model/netbios-message.ts';
import { portState } from '../../model/persona.ts';
import type { DatagramResponder, LinkAnswer, LinkQuestion } from '../datagram.ts';

const domain = localDomain.split('.');
/** RCODE of RFC 1035 section 4.1.1. */
const noSuchName = 3;
const refused = 5;
const hourSeconds = 3600;

const addressRecord = (labels: readonly string[], address: Address, of: number, ttlSeconds: number): DnsRecord => ({
  labels,
  type: address.family === 4 ? dnsTypes.a : dnsTypes.aaaa,
  class: of,
  ttlSeconds,
  data: addressBytes(address),
});

const pointerRecord = (labels: readonly string[], name: readonly string[], of: number, ttlSeconds: number): DnsRecord => ({
  labels,
  type: dnsTypes.ptr,
  class: of,
  ttlSeconds,
  data: renderName(name),
});

/** Whether a question of this type is answered by an address of this family. */
const asksFor = (type: number, { family }: Address): boolean =>
  type === dnsTypes.any || type === (family === 4 ? dnsTypes.a : dnsTypes.aaaa);

/** Header and question come back, with this RCODE or the TC bit: never longer than what was asked. */
export function echo(payload: Buffer, end: number, outcome: number | 'truncated'): Buffer {
  const answer = Buffer.from(payload.subarray(0, end));
  answer[2] = 0x80 | (payload[2] & 0x79) | (outcome === 'truncated' ? 0x02 : 0);
  answer[3] = outcome === 'truncated' ? 0 : outcome;
  answer.writeUInt16BE(1, 4);
  answer.fill(0, 6, 12);
  return answer;
}

/** Labels of a host of ours in front of our domain, or alone; undefined: another's name. */
function hostLabels(labels: readonly string[]): readonly string[] | undefined {
  if (labels.length === 1) return labels;
  const tail = labels.slice(-domain.length).join('.').toLowerCase();
  return tail === localDomain ? labels.slice(0, -domain.length) : undefined;
}

/** Whether a name server of this network would know: names of its domain, addresses of its ranges. */
function isOurs({ labels, type, class: of }: DnsQuestion, names: NameBook | undefined): boolean {
  if (!names || of !== classInternet) return false;
  if (type !== dnsTypes.ptr) return hostLabels(labels) !== undefined;
  const address = parseReverseName(labels);
  return address !== undefined && names.isKnown(address);
}

/** What the network's name server says in full; over UDP only to its own link. */
export function renderNameAnswer(query: DnsQuery, payload: Buffer, names: NameBook | undefined): Buffer {
  const [question] = query.questions;
  if (query.operation !== 0 || query.questions.length !== 1 || !names || !isOurs(question, names))
    return echo(payload, query.firstEnd, refused);
  // Response, authoritative; recursion desired as asked.
  const flags = 0x8400 | ((payload[2] & 1) << 8);
  const say = (answers: readonly DnsRecord[], code = 0): Buffer => renderDnsAnswer(query.id, flags | code, [question], answers);
  const { labels, type } = question;
  if (type === dnsTypes.ptr) {
    const address = parseReverseName(labels);
    const named = address && names.nameOf(address);
    return named ? say([pointerRecord(labels, [named.name, ...domain], classInternet, hourSeconds)]) : say([], noSuchName);
  }
  const host = hostLabels(labels) ?? [];
  if (host.length === 0) return say([]);
  const found = host.length === 1 ? names.find(host[0]) : undefined;
  if (!found) return say([], noSuchName);
  return say(asksFor(type, found.address) ? [addressRecord(labels, found.address, classInternet, hourSeconds)] : []);
}

/** The decoy that was asked, with its name. */
function asked({ destination, names }: LinkQuestion): { address: Address; name: string } | undefined {
  const address = parseAddress(destination.ip);
  const named = address && names?.nameOf(address);
  return named && { address, name: named.name };
}

const named = (label: string | undefined, name: string): boolean => label?.toLowerCase() === name.toLowerCase();

const isReverseOf = (labels: readonly string[], address: Address): boolean => {
  const found = parseReverseName(labels);
  return found?.family === address.family && found.value === address.value;
};

function answerNetbios(question: LinkQuestion): LinkAnswer | undefined {
  const { payload, persona, names } = question;
  const asks = parseNetbiosQuestion(payload);
  const own = asked(question);
  if (!asks || own?.address.family !== 4) return undefined;
  const serves = portState(persona, 'tcp', 445) === 'open' || portState(persona, 'tcp', 139) === 'open';
  if (asks.name !== '*' && asks.name !== netbiosName(own.name)) return undefined;
  if (asks.kind === 'status') {
    // Nobody answers a status question that went to everybody: it would be a storm.
    if (question.group !== undefined && asks.name === '*') return undefined;
    const mac = names?.directory.find(question.destination.ip)?.mac ?? '00:00:00:00:00:00';
    const bytes = Uint8Array.from(mac.split(':'), (part) => Number.parseInt(part, 16));
    return { bytes: renderNetbiosStatus(asks, own.name, bytes, serves), hopLimit: 1 };
  }
  if (asks.name === '*' || (asks.suffix !== 0 && !(asks.suffix === 0x20 && serves))) return undefined;
  return { bytes: renderNetbiosAddress(asks, own.address), hopLimit: 1 };
}

/** RFC 4795 section 2.3: only questions to the group, of one plain question, without the conflict and truncation bits. */
function answerLlmnr(question: LinkQuestion): LinkAnswer | undefined {
  const { payload, group } = question;
  const query = parseDnsQuery(payload);
  const own = asked(question);
  if (!query || !own || group === undefined || query.questions.length !== 1 || query.records > 0) return undefined;
  if (query.operation !== 0 || payload[2] & 0x06) return undefined;
  const [{ labels, type, class: of }] = query.questions;
  if (of !== classInternet) return undefined;
  // Windows writes the name out, and there are clients that read nothing else.
  const say = (answers: readonly DnsRecord[]): LinkAnswer => ({
    bytes: renderDnsAnswer(query.id, 0x8000, query.questions, answers, true),
    hopLimit: 1,
  });
  if (type === dnsTypes.ptr)
    return isReverseOf(labels, own.address) ? say([pointerRecord(labels, [own.name], classInternet, 30)]) : undefined;
  if (labels.length !== 1 || !named(labels[0], own.name)) return undefined;
  return say(asksFor(type, own.address) ? [addressRecord(labels, own.address, classInternet, 30)] : []);
}

/**
 * Answers for the names that are this decoy's alone. To the group, or to the asker alone when it said so (5.4), asked it
 * alone (5.5) or is no mDNS program (6.7). Hop limit 255 (section 11): peers may insist on it, and nothing forwards the group.
 */
function answerMdns(question: LinkQuestion): LinkAnswer | undefined {
  const { payload, source, group } = question;
  const query = parseDnsQuery(payload);
  const own = asked(question);
  if (!query || !own || query.operation !== 0) return undefined;
  const legacy = source.port !== mdnsPort;
  const of = legacy ? classInternet : 0x8000 | classInternet;
  const ttlSeconds = legacy ? 10 : 120;
  const answers: DnsRecord[] = [];
  const hit: DnsQuestion[] = [];
  for (const one of query.questions) {
    const { labels, type } = one;
    if (one.class !== classInternet && one.class !== 255) continue;
    if ((type === dnsTypes.ptr || type === dnsTypes.any) && isReverseOf(labels, own.address))
      answers.push(pointerRecord(labels, [own.name, 'local'], of, ttlSeconds));
    else if (labels.length === 2 && named(labels[1], 'local') && named(labels[0], own.name) && asksFor(type, own.address))
      answers.push(addressRecord(labels, own.address, of, ttlSeconds));
    else continue;
    hit.push(one);
  }
  if (answers.length === 0) return undefined;
  const alone = legacy || group === undefined || hit.every(({ unicast }) => unicast);
  const bytes = renderDnsAnswer(legacy ? query.id : 0, 0x8400, legacy ? query.questions.slice(0, 1) : [], answers);
  return { bytes, hopLimit: 255, ...(alone ? {} : { toGroup: true }) };
}

export const namingResponders: readonly DatagramResponder[] = [
  {
    protocol: 'netbios',
    ports: [netbiosPort],
    recognises: (payload) => payload.length >= 50 && payload.readUInt16BE(4) === 1 && payload[12] === 0x20 && payload[45] === 0,
    answerOnLink: answerNetbios,
  },
  {
    protocol: 'mdns',
    ports: [mdnsPort],
    recognises: (payload, port) => port === mdnsPort && parseDnsQuery(payload) !== undefined,
    answerOnLink: answerMdns,
  },
  {
    protocol: 'llmnr',
    ports: [llmnrPort],
    recognises: (payload, port) => port === llmnrPort && parseDnsQuery(payload) !== undefined,
    answerOnLink: answerLlmnr,
  },
  {
    protocol: 'dns',
    ports: [53],
    recognises: (payload) => {
      const query = parseDnsQuery(payload);
      return query !== undefined && query.operation <= 2 && query.questions.length === 1 && query.records <= 2;
    },
    answer({ payload, names }) {
      const query = parseDnsQuery(payload);
      if (!query) return undefined;
      const knows = query.operation === 0 && isOurs(query.questions[0], names);
      return echo(payload, query.firstEnd, knows ? 'truncated' : refused);
    },
    answerOnLink({ payload, names }) {
      const query = parseDnsQuery(payload);
      return query && { bytes: renderNameAnswer(query, payload, names), hopLimit: 1 };
    },
  },
];
