// A labelled set of HTTP requests: attacks (the rules' own payloads, wrapped and disguised the ways attackers do) and harmless ones
// (browsers, programs, people's searches), and how many of each are taken for an attack. No harmless one may be, at severity high.

import assert from 'node:assert/strict';
import path from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { harmlessRequests } from '../../../test/support/harmless-requests.ts';
import { subjectBytes } from './rule-check.ts';
import { openSignatures } from './rule-files.ts';

const { set } = openSignatures(path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../../rules/signatures'), []);

const hitsOf = (input: Buffer, port = 80) =>
  set.match({
    session: { transport: 'tcp', destination: { ip: '192.0.2.1', port }, protocol: 'http' },
    input,
    output: new Uint8Array(0),
  });

interface Attack {
  readonly rule: string;
  readonly kind: string;
  readonly bytes: Buffer;
  readonly port: number | undefined;
}

const requestLine = /^([A-Z]+) (\S+)( HTTP\/1\.[01]\r\n)/;

/** The ways one request is sent differently without meaning anything else. Undefined where a way does not apply. */
const disguises: Readonly<Record<string, (request: string) => string | undefined>> = {
  plain: (request) => request,
  'other client': (request) =>
    request.replace('\r\n', '\r\nUser-Agent: Mozilla/5.0 (X11)\r\nAccept: */*\r\nConnection: keep-alive\r\n'),
  'bare line feeds': (request) => (request.includes('\0') ? undefined : request.replaceAll('\r\n', '\n')),
  'pipelined behind another': (request) => `GET /index.html HTTP/1.1\r\nHost: a.example\r\n\r\n${request}`,
  'letters of the path escaped': (request) => {
    const parts = requestLine.exec(request);
    const target = parts?.[2].replace(/^[^?]+/, (text) =>
      text.replace(/[a-z]/g, (letter, at) =>
        at % 3 === 0 && text[at - 1] !== '%' && text[at - 2] !== '%' ? `%${letter.charCodeAt(0).toString(16)}` : letter,
      ),
    );
    return parts === null ? undefined : `${parts[1]} ${target}${parts[3]}${request.slice(parts[0].length)}`;
  },
  'letters of the query escaped': (request) => {
    const parts = requestLine.exec(request);
    const mark = parts?.[2].indexOf('?') ?? -1;
    if (!parts || mark < 0) return undefined;
    const query = parts[2]
      .slice(mark + 1)
      .replace(/[a-z]/g, (letter, at) => (at % 3 === 0 ? `%${letter.charCodeAt(0).toString(16)}` : letter));
    return `${parts[1]} ${parts[2].slice(0, mark + 1)}${query}${parts[3]}${request.slice(parts[0].length)}`;
  },
  'escaped twice': (request) => {
    const parts = requestLine.exec(request);
    const mark = parts?.[2].indexOf('?') ?? -1;
    if (!parts || mark < 0) return undefined;
    const query = parts[2]
      .slice(mark + 1)
      .replaceAll('%', '%25')
      .replace(/[a-z]/g, (letter, at) => (at % 4 === 0 ? `%25${letter.charCodeAt(0).toString(16)}` : letter));
    return `${parts[1]} ${parts[2].slice(0, mark + 1)}${query}${parts[3]}${request.slice(parts[0].length)}`;
  },
  'letters of the form escaped': (request) => {
    const at = request.indexOf('\r\n\r\n');
    if (!request.includes('x-www-form-urlencoded') || at < 0 || request.length < at + 8) return undefined;
    const body = request
      .slice(at + 4)
      .replace(/[a-z]/g, (letter, index) => (index % 2 === 0 ? `%${letter.charCodeAt(0).toString(16)}` : letter));
    return `${request.slice(0, at).replace(/Content-Length: \d+/, `Content-Length: ${body.length}`)}\r\n\r\n${body}`;
  },
  'body in chunks': (request) => {
    const at = request.indexOf('\r\n\r\n');
    if (at < 0 || request.length < at + 16 || !/Content-Length: \d+\r\n/.test(request)) return undefined;
    const chunks = request.slice(at + 4).match(/[\s\S]{1,7}/g) ?? [];
    const body = chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join('');
    return `${request.slice(0, at).replace(/Content-Length: \d+/, 'Transfer-Encoding: chunked')}\r\n\r\n${body}0\r\n\r\n`;
  },
};

function attacks(): Attack[] {
  const found: Attack[] = [];
  for (const rule of set.rules) {
    if (!['exploit', 'malware'].includes(rule.hit.intention) || rule.transport === 'udp' || rule.direction === 'out') continue;
    if (rule.protocols !== undefined && !rule.protocols.has('http')) continue;
    for (const test of rule.tests) {
      if (test.match === undefined) continue;
      const request = subjectBytes(test.match).toString('latin1');
      if (!requestLine.test(request)) continue;
      for (const [kind, disguise] of Object.entries(disguises)) {
        const text = disguise(request);
        if (text === undefined || (kind !== 'plain' && text === request)) continue;
        const port = test.port ?? rule.ports?.values().next().value;
        found.push({ rule: rule.id, kind, bytes: Buffer.from(text, 'latin1'), port });
      }
    }
  }
  return found;
}

const share = (part: number, whole: number): string => `${((100 * part) / whole).toFixed(2)}%`;

describe('detection of attacks over HTTP', () => {
  it('takes no harmless request for a grave attack, and few for any', (context) => {
    const requests = harmlessRequests();
    assert.ok(requests.length >= 300, `${requests.length}`);
    const grave: string[] = [];
    const any: string[] = [];
    for (const request of requests)
      for (const hit of hitsOf(Buffer.from(request, 'latin1'))) {
        if (!['exploit', 'malware'].includes(hit.intention)) continue;
        any.push(`${hit.rule}: ${request.slice(0, 120)}`);
        if (hit.severity === 'high') grave.push(`${hit.rule}: ${request.slice(0, 120)}`);
      }
    context.diagnostic(
      `${requests.length} harmless: ${grave.length} taken for grave attacks, ${any.length} (${share(any.length, requests.length)}) for any`,
    );
    assert.deepEqual(grave, []);
    assert.deepEqual(any, []);
  });

  it('knows attacks as they are and in disguise', (context) => {
    const all = attacks();
    assert.ok(all.length >= 300, `${all.length}`);
    const byKind = new Map<string, { all: number; found: number; named: number }>();
    const missed: string[] = [];
    for (const { kind, bytes, port, rule } of all) {
      const count = byKind.get(kind) ?? { all: 0, found: 0, named: 0 };
      byKind.set(kind, count);
      const hits = hitsOf(bytes, port).filter((hit) => ['exploit', 'malware'].includes(hit.intention));
      count.all += 1;
      if (hits.length > 0) count.found += 1;
      else missed.push(`${kind}: ${rule}`);
      if (hits.some((hit) => hit.rule === rule)) count.named += 1;
    }
    for (const [kind, { all: total, found, named }] of byKind)
      context.diagnostic(
        `${kind}: ${found} of ${total} found (${share(found, total)}), ${share(named, total)} by their own rule`,
      );
    const found = all.length - missed.length;
    context.diagnostic(
      `${all.length} attacks: ${found} found (${share(found, all.length)}); missed: ${missed.slice(0, 20).join('; ')}`,
    );
    assert.equal(byKind.get('plain')?.found, byKind.get('plain')?.all);
    assert.ok(found >= 0.97 * all.length, missed.join('\n'));
  });
});
