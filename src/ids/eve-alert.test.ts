// Lines as Suricata 7 writes them, and lines it never would.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseEveLine, parseEveTime } from './eve-alert.ts';

const line = {
  timestamp: '2026-11-22T14:46:46.652001+0000',
  event_type: 'alert',
  in_iface: 'feed',
  vlan: [7],
  src_ip: '10.66.0.5',
  src_port: 8080,
  dest_ip: '10.9.0.1',
  dest_port: 40_001,
  proto: 'TCP',
  alert: {
    gid: 1,
    signature_id: 1_100_001,
    rev: 2,
    signature: 'WEIR HTTP path traversal',
    category: 'Web Application Attack',
    severity: 1,
    metadata: { cve: ['CVE_2021_41773', 'nonsense'], mitre_technique_id: ['T1190', 7] },
  },
  http: { hostname: 'a', url: '/etc/passwd', http_user_agent: 'x'.repeat(2000), http_method: 'GET', status: 200 },
  app_proto: 'http',
  direction: 'to_client',
  flow: { start: '2026-11-22T14:46:46.600000+0000', src_ip: '10.9.0.1', dest_ip: '10.66.0.5', src_port: 40_001, dest_port: 8080 },
};
const parsed = (value: unknown) => parseEveLine(JSON.stringify(value));

describe('a line of EVE', () => {
  it('is an alert with the flow the right way round, cut to size', () => {
    const found = parsed(line);
    assert.ok(found.kind === 'alert');
    const { alert } = found;
    assert.deepEqual(alert.source, { ip: '10.9.0.1', port: 40_001 });
    assert.deepEqual(alert.destination, { ip: '10.66.0.5', port: 8080 });
    assert.equal(alert.at - (alert.flowStart ?? 0), 52_001);
    assert.equal(alert.vlan, 7);
    assert.equal(alert.signature.severity, 'high');
    assert.deepEqual(alert.cves, ['CVE-2021-41773']);
    assert.deepEqual(alert.techniques, ['T1190']);
    assert.equal(alert.facts['http.path'], '/etc/passwd');
    assert.equal(String(alert.facts['http.userAgent']).length, 512);
  });

  it('without what it says of the flow is turned by its direction', () => {
    const { flow: _flow, ...rest } = line;
    const found = parsed(rest);
    assert.ok(found.kind === 'alert');
    assert.deepEqual(found.alert.source, { ip: '10.9.0.1', port: 40_001 });
  });

  it('tells IPv6 addresses as sessions do', () => {
    const { flow: _flow, ...rest } = line;
    const found = parsed({
      ...rest,
      direction: 'to_server',
      src_ip: 'fd99:0000:0000:0000:0000:0000:0000:0001',
      dest_ip: '2001:db8::4',
    });
    assert.ok(found.kind === 'alert');
    assert.equal(found.alert.source.ip, 'fd99::1');
  });

  it('knows the time in any zone', () => {
    assert.equal(parseEveTime('2026-11-22T16:46:46.652001+0200'), parseEveTime('2026-11-22T14:46:46.652001+0000'));
    assert.equal(parseEveTime('2026-13-45T99:99:99.000000+0000'), undefined);
  });

  it('of another kind is passed over, and what is none is bad', () => {
    assert.deepEqual(parsed({ event_type: 'stats' }), { kind: 'other' });
    for (const wrong of [
      'null',
      '[]',
      '{',
      '"alert"',
      JSON.stringify({ ...line, src_ip: 'evil' }),
      JSON.stringify({ ...line, alert: [] }),
      JSON.stringify({ ...line, timestamp: 5 }),
      JSON.stringify({ ...line, src_port: 70_000 }),
      JSON.stringify({ ...line, alert: { ...line.alert, signature_id: '1' } }),
      `${'['.repeat(30_000)}`,
    ])
      assert.deepEqual(parseEveLine(wrong), { kind: 'bad' }, wrong.slice(0, 80));
  });

  it('never throws, whatever stands in its fields', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(...Object.keys(line)), (value, key) => {
        const { kind } = parsed({ ...line, [key]: value });
        assert.ok(['alert', 'other', 'bad'].includes(kind));
      }),
    );
  });
});
