// What each kind of EVE event adds to its flow: ends and counts, requests, fingerprints, files, alerts. Pure.
// Source: Suricata user guide, "Eve JSON Format", versions 4 to 8.

import type { Micros } from '../../base/clock.ts';
import type { FlowDraft } from './eve-flow.ts';
import { renderRequest } from './http-request.ts';
import { isObject, type JsonObject, listOf, numberOf, objectOf, parseLogTime, textOf } from './json-line.ts';

const none: JsonObject = {};
const notProtocols = new Set(['failed', 'unknown', '']);
/** Its names that are not ours. */
const protocols: Readonly<Record<string, string>> = { pgsql: 'postgres', rfb: 'vnc', krb5: 'kerberos', http1: 'http' };
const maxListed = 16;

export function addEveEvent(draft: FlowDraft, type: string, at: Micros, object: JsonObject, zoneMinutes: number): void {
  if (type !== 'flow' && type !== 'netflow') draft.touch(at);
  const protocol = textOf(object, 'app_proto')?.toLowerCase() ?? '';
  if (!notProtocols.has(protocol))
    draft.protocol = (Object.hasOwn(protocols, protocol) ? protocols[protocol] : protocol).slice(0, 32);
  const add = Object.hasOwn(adders, type) ? adders[type] : undefined;
  add?.(draft, objectOf(object, type) ?? none, at, object);
  if (type === 'flow' || type === 'netflow') {
    const end = parseLogTime(textOf(objectOf(object, type) ?? none, 'end') ?? '', zoneMinutes);
    // The record itself is written long after.
    if (!Number.isNaN(end)) draft.end = Math.max(draft.start, end);
  }
}

type Adder = (draft: FlowDraft, part: JsonObject, at: Micros, object: JsonObject) => void;

const adders: Readonly<Record<string, Adder>> = {
  flow: (draft, flow, _at, object) => {
    const tcp = objectOf(object, 'tcp') ?? none;
    draft.bytesIn = count(flow, 'bytes_toserver');
    draft.bytesOut = count(flow, 'bytes_toclient');
    draft.flowEnd = {
      state: textOf(flow, 'state'),
      reason: textOf(flow, 'reason'),
      packetsIn: count(flow, 'pkts_toserver'),
      packetsOut: count(flow, 'pkts_toclient'),
      flagsIn: flags(tcp, 'tcp_flags_ts'),
      flagsOut: flags(tcp, 'tcp_flags_tc'),
    };
  },
  netflow: (draft) => draft.tag('netflow'),
  http: (draft, http, at) => {
    draft.protocol ??= 'http';
    const target = textOf(http, 'url') ?? '/';
    const [host, agent] = [textOf(http, 'hostname'), textOf(http, 'http_user_agent')];
    const [method, version] = [textOf(http, 'http_method'), textOf(http, 'protocol')];
    const referer = textOf(http, 'http_refer');
    draft.fact('path', target);
    draft.fact('user-agent', agent);
    const body = textOf(http, 'http_request_body');
    const text = renderRequest({ method, target, version, host, agent, referer });
    draft.request(at, body === undefined ? text : Buffer.concat([Buffer.from(text), Buffer.from(body, 'base64')]));
  },
  tls: (draft, tls) => {
    draft.protocol ??= 'tls';
    const serverName = textOf(tls, 'sni')?.slice(0, 253);
    draft.fact('tls-name', serverName);
    draft.tls = {
      version: (textOf(tls, 'version') ?? 'unknown').replace(/^TLS /, 'TLSv').slice(0, 16),
      ja3: (textOf(objectOf(tls, 'ja3') ?? none, 'hash') ?? '').slice(0, 64),
      ja4: (textOf(tls, 'ja4') ?? '').slice(0, 64),
      ...(serverName !== undefined && { serverName }),
    };
  },
  ssh: (draft, ssh, at) => {
    draft.protocol ??= 'ssh';
    const client = objectOf(ssh, 'client') ?? none;
    const software = textOf(client, 'software_version');
    if (software !== undefined) {
      const line = `SSH-${textOf(client, 'proto_version') ?? '2.0'}-${software}`;
      draft.fact('client', line);
      draft.request(at, `${line}\r\n`);
    }
    draft.fact('hassh', textOf(objectOf(client, 'hassh') ?? none, 'hash'));
  },
  dns: (draft, dns) => {
    draft.protocol ??= 'dns';
    draft.fact('domain', textOf(dns, 'rrname'));
    for (const query of listOf(dns, 'queries').slice(0, maxListed))
      if (isObject(query)) draft.fact('domain', textOf(query, 'rrname'));
  },
  fileinfo: (draft, file) => {
    draft.fact('file', textOf(file, 'filename'));
    for (const name of ['sha256', 'sha1', 'md5']) draft.fact('hash', textOf(file, name));
  },
  ftp: (draft, ftp, at) => {
    draft.protocol ??= 'ftp';
    const command = textOf(ftp, 'command');
    if (command) draft.request(at, `${`${command} ${textOf(ftp, 'command_data') ?? ''}`.trimEnd()}\r\n`);
  },
  alert: (draft, alert, at, object) => {
    draft.alerted = true;
    const [generator, signature] = [numberOf(alert, 'gid') ?? 1, numberOf(alert, 'signature_id') ?? 0];
    draft.tag('suricata');
    draft.tag(`suricata:${signature}`);
    draft.fact('alert', `suricata:${generator}:${signature} ${textOf(alert, 'signature') ?? ''}`.trimEnd());
    const metadata = objectOf(alert, 'metadata') ?? none;
    for (const cve of listOf(metadata, 'cve').slice(0, maxListed))
      if (typeof cve === 'string' && /^CVE[-_]\d{4}[-_]\d{4,7}$/i.test(cve)) draft.tag(cve.toUpperCase().replaceAll('_', '-'));
    for (const technique of listOf(metadata, 'mitre_technique_id').slice(0, maxListed))
      if (typeof technique === 'string' && /^T\d{4}(?:\.\d{3})?$/.test(technique)) draft.tag(technique);
    // An alert brings what the flow is about, also where those events are not logged.
    for (const type of ['http', 'tls', 'ssh'] as const) {
      const part = objectOf(object, type);
      if (part && !draft.hasContent) adders[type](draft, part, at, object);
    }
    const payload = textOf(object, 'payload');
    if (payload !== undefined && textOf(object, 'direction') !== 'to_client') draft.stream(at, Buffer.from(payload, 'base64'));
  },
  anomaly: (draft) => draft.tag('anomaly'),
  drop: (draft) => draft.tag('dropped'),
};

const count = (object: JsonObject, name: string): number => {
  const value = numberOf(object, name) ?? 0;
  return value > 0 && Number.isSafeInteger(value) ? value : 0;
};

function flags(tcp: JsonObject, name: string): number | undefined {
  const text = textOf(tcp, name);
  return text !== undefined && /^[0-9a-f]{1,2}$/i.test(text) ? Number.parseInt(text, 16) : undefined;
}
