// Suricata's and Zeek's flows to sessions and probes: who began, how it ended, what is known of it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runImport } from '../../../test/support/import-bed.ts';
import { importSamples } from '../../../test/support/import-samples.ts';
import { parseMicros } from '../../base/clock.ts';
import { eveFormat } from './eve.ts';
import { importInputs } from './import-contract.ts';
import { zeekFormat } from './zeek.ts';

const event = (type: string, more: object = {}): string =>
  JSON.stringify({
    timestamp: '2024-11-13T12:00:01.000000+0100',
    flow_id: 5,
    event_type: type,
    src_ip: '192.0.2.1',
    src_port: 4000,
    dest_ip: '198.51.100.1',
    dest_port: 443,
    proto: 'TCP',
    ...more,
  });

test('EVE: events of a flow are one session, turned the way it began', () => {
  const { sessions, probes } = runImport(eveFormat, importSamples.eve);
  const [session] = sessions;
  assert.equal(sessions.length, 1);
  assert.deepEqual(session.source, { ip: '192.0.2.16', port: 50000 });
  assert.deepEqual(session.destination, { ip: '198.51.100.9', port: 80 });
  assert.equal(session.start, parseMicros('2024-11-13T12:00:00.500000Z'));
  assert.equal(session.end, parseMicros('2024-11-13T12:00:02.000000Z'));
  assert.deepEqual([session.bytesIn, session.bytesOut, session.protocol, session.outcome], [600, 900, 'http', 'client-closed']);
  assert.deepEqual(session.tags, ['suricata', 'suricata:2100498', 'CVE-2021-44228', 'T1190', 'reconstructed']);
  assert.deepEqual(
    session.facts?.filter(({ kind }) => kind === 'alert'),
    [{ kind: 'alert', value: 'suricata:1:2100498 id check returned root' }],
  );
  assert.match(Buffer.from(session.chunks[0].bytes).toString(), /^GET \/a\?b=1 HTTP\/1\.1\r\nHost: h\r\nUser-Agent: z\r\n\r\n$/);
  assert.deepEqual(
    probes.map(({ source, targets: [{ kind, count, transport }] }) => [source, kind, count, transport]),
    [
      ['192.0.2.17', 'filtered', 3, 'tcp'],
      ['192.0.2.17', 'echo', 2, 'icmp'],
    ],
  );
});

test('EVE: an anomaly of a packet that has no flow is no session', () => {
  const anomaly = { type: 'decode', event: 'decoder.tcp.invalid_optlen' };
  const { sessions, counts } = runImport(eveFormat, [
    event('anomaly', { flow_id: undefined, anomaly }),
    event('anomaly', { flow_id: undefined, src_port: undefined, dest_port: undefined, anomaly }),
    event('anomaly', { anomaly: { type: 'stream', event: 'stream.pkt_invalid_ack' } }),
  ]);
  assert.deepEqual([sessions.length, counts.merged], [1, 2]);
});

test('EVE: what TCP flags say of a flow without a handshake', () => {
  const kinds = (
    [
      ['02', '14', 1],
      ['06', '12', 1],
      ['02', '00', 0],
      ['01', '00', 0],
      ['29', '14', 1],
      ['00', '14', 1],
      ['10', '00', 0],
      ['1a', '12', 2],
    ] as const
  ).map(([ts, tc, packets]) => {
    const flow = { pkts_toserver: 1, pkts_toclient: packets, state: 'new', start: '2024-11-13T12:00:00.000000+0100' };
    const run = runImport(eveFormat, [event('flow', { flow, tcp: { tcp_flags_ts: ts, tcp_flags_tc: tc } })]);
    return run.probes[0]?.targets[0].kind ?? 'session';
  });
  assert.deepEqual(kinds, ['closed', 'half-open', 'filtered', 'fin', 'xmas', 'null', 'ack', 'session']);
});

test('EVE: where no flags were seen, for strays or for missing checksums, packets tell', () => {
  const kinds = [
    [9, 9, 831],
    [1, 1, 74],
    [3, 0, 222],
    [2, 0, 120],
    [1, 1, 54],
  ].map(([pkts_toserver, pkts_toclient, bytes_toserver]) => {
    const flow = { pkts_toserver, pkts_toclient, bytes_toserver, state: 'new', start: '2024-11-13T12:00:00.000000+0100' };
    const run = runImport(eveFormat, [event('flow', { flow, tcp: { tcp_flags_ts: '00', tcp_flags_tc: '00' } })]);
    return run.probes[0]?.targets[0].kind ?? 'session';
  });
  assert.deepEqual(kinds, ['session', 'half-open', 'filtered', 'ack', 'ack']);
});

test('EVE: an alert keeps a flow without a handshake a session; a payload it shows stands for its requests', () => {
  const flow = { pkts_toserver: 1, pkts_toclient: 0, bytes_toserver: 60, bytes_toclient: 0, state: 'new' };
  const payload = Buffer.from('GET /x HTTP/1.0\r\n\r\n\xff', 'latin1').toString('base64');
  const { sessions } = runImport(eveFormat, [
    event('http', { http: { url: '/x', http_method: 'GET' } }),
    event('alert', { payload, direction: 'to_server', alert: { signature_id: 7, signature: 'x' } }),
    event('flow', { flow, tcp: { tcp_flags_ts: '02', tcp_flags_tc: '00' } }),
  ]);
  assert.equal(sessions[0].chunks.length, 1);
  assert.equal(Buffer.from(sessions[0].chunks[0].bytes).toString('latin1'), 'GET /x HTTP/1.0\r\n\r\n\xff');
  assert.ok(!sessions[0].tags?.includes('reconstructed'));
});

test('EVE: who began is told by the direction, by the flow within, by the kind of event', () => {
  const alert = { signature_id: 7, signature: 'x' };
  const source = (more: object, type = 'alert'): string =>
    runImport(eveFormat, [event(type, { alert, ...more })]).sessions[0].source.ip;
  assert.equal(source({}), '192.0.2.1');
  assert.equal(source({ direction: 'to_client' }), '198.51.100.1');
  assert.equal(source({ flow: { src_ip: '198.51.100.1' } }), '198.51.100.1');
  const file = event('fileinfo', { src_ip: '198.51.100.1', dest_ip: '192.0.2.1', src_port: 443, dest_port: 4000 });
  assert.equal(runImport(eveFormat, [file, event('http', {})]).sessions[0].source.ip, '192.0.2.1');
});

test('EVE: the longest stream an alert shows is the one that is kept', () => {
  const alert = (payload: string): string =>
    event('alert', { payload: Buffer.from(payload).toString('base64'), alert: { signature_id: 7 } });
  const { sessions } = runImport(eveFormat, [alert('ab'), alert('abcd'), alert('abc')]);
  assert.equal(Buffer.concat(sessions[0].chunks.map(({ bytes }) => bytes)).toString(), 'abcd');
});

test('EVE: TLS, SSH, DNS and files', () => {
  const { sessions } = runImport(eveFormat, [
    event('tls', { flow_id: 1, tls: { sni: 'a.example', version: 'TLS 1.2', ja3: { hash: 'j3' }, ja4: 'j4' } }),
    event('ssh', { flow_id: 2, ssh: { client: { proto_version: '2.0', software_version: 'Go', hassh: { hash: 'hh' } } } }),
    event('dns', { flow_id: 3, proto: 'UDP', dns: { type: 'query', queries: [{ rrname: 'b.example' }] } }),
    event('fileinfo', { flow_id: 4, fileinfo: { filename: '/x.sh', sha256: 's' } }),
  ]);
  const [tls, ssh, dns, file] = sessions;
  assert.deepEqual(tls.tls, { version: 'TLSv1.2', ja3: 'j3', ja4: 'j4', serverName: 'a.example' });
  assert.equal(Buffer.from(ssh.chunks[0].bytes).toString(), 'SSH-2.0-Go\r\n');
  assert.deepEqual(ssh.facts, [
    { kind: 'client', value: 'SSH-2.0-Go' },
    { kind: 'hassh', value: 'hh' },
  ]);
  assert.deepEqual([dns.transport, dns.facts], ['udp', [{ kind: 'domain', value: 'b.example' }]]);
  assert.deepEqual(file.facts, [
    { kind: 'file', value: '/x.sh' },
    { kind: 'hash', value: 's' },
  ]);
});

test('Zeek: states become sessions and probes, in columns', () => {
  const { sessions, probes } = runImport(zeekFormat, importSamples.zeek);
  const [http, dns] = sessions;
  assert.equal(http.start, 1_700_000_000_123_456);
  assert.equal(http.end, 1_700_000_001_623_456);
  assert.deepEqual(
    [http.protocol, http.bytesIn, http.bytesOut, http.outcome, http.key],
    ['http', 100, 2000, 'client-closed', 'Ca'],
  );
  assert.equal(http.truncated, true);
  assert.deepEqual([dns.transport, dns.protocol], ['udp', 'dns']);
  assert.deepEqual(
    probes.map(({ targets: [{ kind, port }] }) => [kind, port]),
    [
      ['filtered', 22],
      ['closed', 23],
      ['echo', 0],
    ],
  );
});

test('Zeek: the same as JSON, with times of either kind, and with another separator', () => {
  const object = {
    ts: 1700000000.123456,
    uid: 'Ca',
    'id.orig_h': '192.0.2.18',
    'id.orig_p': 1024,
    'id.resp_h': '198.51.100.10',
    'id.resp_p': 80,
    proto: 'tcp',
    service: 'ssl,http',
    duration: 1.5,
    orig_bytes: 100,
    resp_bytes: 2000,
    conn_state: 'RSTO',
    history: 'ShADadR',
  };
  const iso = { ...object, ts: '2023-11-14T22:13:20.123456Z' };
  const names = Object.keys(object);
  const rows = ['#separator ,', `#fields,${names.join(',')}`, Object.values({ ...object, service: 'http' }).join(',')];
  const { sessions } = runImport(zeekFormat, [JSON.stringify(object), JSON.stringify(iso)], rows);
  for (const session of sessions) assert.deepEqual([session.start, session.outcome], [1_700_000_000_123_456, 'client-reset']);
  assert.deepEqual([sessions[0].protocol, sessions[0].tags], ['http', ['tls']]);
});

test('Zeek: a SYN scan that resets, strays, other logs, lines without a header', () => {
  const state = (conn_state: string, history: string): string =>
    JSON.stringify({
      ts: 1,
      uid: 'u',
      'id.orig_h': '192.0.2.1',
      'id.orig_p': 1,
      'id.resp_h': '192.0.2.2',
      'id.resp_p': 2,
      proto: 'tcp',
      conn_state,
      history,
    });
  const kinds = [
    ['RSTO', 'ShR'],
    ['RSTO', 'ShAR'],
    ['RSTOS0', 'SR'],
    ['OTH', 'F'],
    ['OTH', '^hA'],
    ['SF', 'ShAfFa'],
    ['S1', 'ShA'],
  ].map(([a, b]) => {
    const run = runImport(zeekFormat, [state(a, b)]);
    return run.probes[0]?.targets[0].kind ?? run.sessions[0].outcome;
  });
  assert.deepEqual(kinds, ['half-open', 'client-reset', 'half-open', 'fin', 'ack', 'server-closed', 'idle']);
  const { rejections } = runImport(zeekFormat, ['1\t2\t3'], ['#path\thttp', '#fields\tts', '1\t2\t3\t4\t5\t6\t7']);
  assert.deepEqual(rejections, ['no #fields line before it', 'a line of another log than conn']);
});

test('Zeek: columns without a header are those Zeek writes by itself, of this version or an old one', async () => {
  const now = 'tcp\tssh\t1.5\t10\t20\tSF\tF\tT\t0\tShADadFf\t6\t300\t5\t280\t-';
  const old = 'tcp\t-\t-\t-\t-\tS0\tF\t0\tS\t3\t180\t0\t0\t(empty)';
  const lines = [now, old].map(
    (rest, index) => `165372480${index}.25\tCabc0d3fghi${index}\t192.0.2.1\t4000\t198.51.100.1\t22\t${rest}`,
  );
  const { files, events } = await importInputs([`${lines.join('\n')}\n1653724800.5\tCabc\t192.0.2.1\n`]);
  assert.deepEqual([files[0].format, files[0].sessions, files[0].probes, files[0].rejected], ['zeek', 2, 1, 1]);
  const [session, probe] = events;
  assert.ok(session.kind === 'session' && probe.kind === 'probe');
  assert.deepEqual([session.session.protocol, session.session.bytesIn, session.session.outcome], ['ssh', 10, 'client-closed']);
  assert.deepEqual([probe.probe.targets[0].kind, probe.probe.targets[0].count], ['filtered', 3]);
});
