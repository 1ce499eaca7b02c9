// One line of Suricata's EVE as an alert. The line quotes attackers: every field is checked, cut to a bound, and what is not
// as documented is no alert. Pure.
// Source: Suricata 7 user guide, "EVE JSON Format"; Emerging Threats' metadata keys `cve` and `mitre_technique_id`.

import type { Micros } from '../base/clock.ts';
import { parseAddress, renderAddress } from '../model/address.ts';
import type { Severity } from '../model/event.ts';
import type { Endpoint } from '../model/session.ts';

export interface EveSignature {
  readonly id: number;
  readonly generator: number;
  readonly revision: number;
  readonly text: string;
  readonly category: string;
  readonly severity: Severity;
}

export interface EveAlert {
  readonly at: Micros;
  /** `tcp`, `udp`, `icmp`, `ipv6-icmp`, …; lower case. */
  readonly transport: string;
  /** Of the flow, its client first, whichever side the rule matched. Port 0 where there are none. */
  readonly source: Endpoint;
  readonly destination: Endpoint;
  /** When Suricata saw the flow's first packet. */
  readonly flowStart?: Micros;
  /** The outermost 802.1Q tag. */
  readonly vlan?: number;
  readonly interface: string;
  readonly signature: EveSignature;
  /** Application protocol: `http`, `ssh`. */
  readonly protocol?: string;
  readonly cves: readonly string[];
  readonly techniques: readonly string[];
  /** What of the application layer a person wants to see, by ECS-like names; texts are the attacker's. */
  readonly facts: Readonly<Record<string, string | number>>;
}

/** `other`: a well-formed line that is no alert; `bad`: not EVE. */
export type EveLine =
  | { readonly kind: 'alert'; readonly alert: EveAlert }
  | { readonly kind: 'other' }
  | { readonly kind: 'bad' };

const maxText = 512;
const maxListed = 16;
const bad: EveLine = { kind: 'bad' };

type Fields = Readonly<Record<string, unknown>>;

const fieldsOf = (value: unknown): Fields | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
const text = (value: unknown, most = maxText): string => (typeof value === 'string' ? value.slice(0, most) : '');
const natural = (value: unknown): number | undefined =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined;

/** `2026-11-22T14:46:46.652001+0000`. */
export function parseEveTime(value: unknown): Micros | undefined {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{6})([+-])(\d\d):?(\d\d)$/.exec(text(value, 40));
  if (!match) return undefined;
  const [, seconds, fraction, sign, hours, minutes] = match;
  const local = Date.parse(`${seconds}Z`);
  if (Number.isNaN(local)) return undefined;
  const offsetMs = (Number(hours) * 60 + Number(minutes)) * 60_000 * (sign === '-' ? -1 : 1);
  return (local - offsetMs) * 1000 + Number(fraction);
}

/** Suricata writes IPv6 in full; sessions hold the short form. */
function endpointOf(ip: unknown, port: unknown): Endpoint | undefined {
  const address = parseAddress(text(ip, 64));
  const number = port === undefined ? 0 : natural(port);
  return address && number !== undefined && number <= 65_535 ? { ip: renderAddress(address), port: number } : undefined;
}

/** Suricata counts from 1, most severe first. */
const severityOf = (value: unknown): Severity => (value === 1 ? 'high' : value === 2 ? 'medium' : value === 3 ? 'low' : 'info');

const listOf = (value: unknown, pattern: RegExp): string[] =>
  (Array.isArray(value) ? value.slice(0, maxListed) : []).flatMap((one) => {
    const found = pattern.exec(text(one, 64));
    return found ? [found[0].toUpperCase().replaceAll('_', '-')] : [];
  });

/** Where a fact is in the document, and what it is called here. */
const factPlaces: readonly (readonly [string, readonly string[]])[] = [
  ['http.method', ['http', 'http_method']],
  ['http.host', ['http', 'hostname']],
  ['http.path', ['http', 'url']],
  ['http.userAgent', ['http', 'http_user_agent']],
  ['http.status', ['http', 'status']],
  ['tls.serverName', ['tls', 'sni']],
  ['tls.version', ['tls', 'version']],
  ['tls.ja3', ['tls', 'ja3', 'hash']],
  ['ssh.client', ['ssh', 'client', 'software_version']],
  ['ssh.server', ['ssh', 'server', 'software_version']],
];

function factsOf(document: Fields): Record<string, string | number> {
  const found: Record<string, string | number> = {};
  for (const [name, path] of factPlaces) {
    let value: unknown = document;
    for (const step of path) value = fieldsOf(value)?.[step];
    if (typeof value === 'string' && value !== '') found[name] = value.slice(0, maxText);
    else if (natural(value) !== undefined) found[name] = value as number;
  }
  return found;
}

/** `line` is at most what the listener lets through. Never throws. */
export function parseEveLine(line: string): EveLine {
  let document: Fields | undefined;
  try {
    document = fieldsOf(JSON.parse(line));
  } catch {
    return bad;
  }
  if (!document || typeof document.event_type !== 'string') return bad;
  if (document.event_type !== 'alert') return { kind: 'other' };
  const alert = fieldsOf(document.alert);
  const at = parseEveTime(document.timestamp);
  const id = natural(alert?.signature_id);
  const here = [endpointOf(document.src_ip, document.src_port), endpointOf(document.dest_ip, document.dest_port)] as const;
  if (!alert || at === undefined || id === undefined || !here[0] || !here[1]) return bad;
  const flow = fieldsOf(document.flow);
  const ofFlow = [endpointOf(flow?.src_ip, flow?.src_port), endpointOf(flow?.dest_ip, flow?.dest_port)] as const;
  const turned = document.direction === 'to_client';
  const [source, destination] =
    ofFlow[0] && ofFlow[1] ? [ofFlow[0], ofFlow[1]] : turned ? [here[1], here[0]] : [here[0], here[1]];
  const flowStart = parseEveTime(flow?.start);
  const vlan = Array.isArray(document.vlan) ? natural(document.vlan[0]) : undefined;
  const protocol = text(document.app_proto, 32);
  const metadata = fieldsOf(alert.metadata);
  return {
    kind: 'alert',
    alert: {
      at,
      transport: text(document.proto, 16).toLowerCase(),
      source,
      destination,
      ...(flowStart === undefined ? {} : { flowStart }),
      ...(vlan === undefined ? {} : { vlan }),
      interface: text(document.in_iface, 16),
      signature: {
        id,
        generator: natural(alert.gid) ?? 1,
        revision: natural(alert.rev) ?? 0,
        text: text(alert.signature, 256),
        category: text(alert.category, 128),
        severity: severityOf(alert.severity),
      },
      ...(protocol === '' || protocol === 'failed' ? {} : { protocol }),
      cves: listOf(metadata?.cve, /^CVE[-_]\d{4}[-_]\d{4,7}$/i),
      techniques: listOf(metadata?.mitre_technique_id, /^T\d{4}(\.\d{3})?$/),
      facts: factsOf(document),
    },
  };
}
