import assert from 'node:assert/strict';
import test from 'node:test';
import { importContract, importInputs } from './import-contract.ts';
import { tcppcFormat } from './tcppc.ts';

const data = (text: string): string => Buffer.from(text).toString('base64');
const line = (more: object, flow: object = {}): string =>
  JSON.stringify({
    timestamp: '2026-03-04T05:06:07.123456789+09:00',
    flow: { proto: 'tcp', src: '192.0.2.7', sport: 40_000, dst: '198.51.100.9', dport: 8080, ...flow },
    payloads: [{ index: 0, timestamp: '2026-03-04T05:06:07.5+09:00', data: data('GET / HTTP/1.0\r\n\r\n') }],
    ...more,
  });

const sample = [
  line({}),
  line({ payloads: null }, { sport: 40_001 }),
  line({ payloads: [] }, { sport: 40_002, proto: 'udp', dport: 53 }),
  line({}, { sport: 40_003, proto: 'tls', dport: 443 }),
  line({}, { sport: 40_004, src: '2001:DB8::7', dst: '2001:db8::9' }),
  line({}, { sport: 40_005, proto: undefined }),
  line({}, { sport: 40_006, src: '::ffff:192.0.2.8', dst: '::ffff:198.51.100.9' }),
].join('\n');

importContract(tcppcFormat, sample);

test('tcppc: a session as it was: true times, addresses, bytes', async () => {
  const { events } = await importInputs([sample], {
    protocolOf: (input) => (Buffer.from(input).toString().startsWith('GET') ? 'http' : undefined),
  });
  const sessions = events.map((event) => (event.kind === 'session' ? event.session : assert.fail()));
  const start = Date.UTC(2026, 2, 3, 20, 6, 7) * 1000 + 123_456;
  const [first, silent, datagram, tls, six, old, mapped] = sessions;
  assert.equal(first.start, start);
  assert.equal(first.end, Date.UTC(2026, 2, 3, 20, 6, 7, 500) * 1000);
  assert.deepEqual(first.source, { ip: '192.0.2.7', port: 40_000 });
  assert.deepEqual(first.destination, { ip: '198.51.100.9', port: 8080 });
  assert.deepEqual(
    first.chunks.map(({ direction, bytes }) => [direction, Buffer.from(bytes).toString()]),
    [['in', 'GET / HTTP/1.0\r\n\r\n']],
  );
  assert.deepEqual(
    [
      first.bytesIn,
      first.bytesOut,
      first.outcome,
      first.diversion,
      first.service,
      first.protocol,
      first.tags,
      first.sourceReliable,
    ],
    [18, 0, 'unknown', 'import', 'tcppc', 'http', ['imported'], true],
  );
  assert.deepEqual([silent.bytesIn, silent.chunks.length, silent.protocol], [0, 0, undefined]);
  assert.deepEqual([datagram.transport, datagram.sourceReliable], ['udp', false]);
  assert.deepEqual([tls.transport, tls.tags, tls.protocol], ['tcp', ['imported', 'tls'], 'http']);
  assert.deepEqual([six.source.ip, six.destination.ip], ['2001:db8::7', '2001:db8::9']);
  assert.equal(old.transport, 'tcp');
  assert.deepEqual([mapped.source.ip, mapped.destination.ip], ['192.0.2.8', '198.51.100.9']);
});

test('tcppc: payloads go by their index', async () => {
  const payloads = [2, 0, 1].map((index) => ({
    index,
    timestamp: `2026-03-04T05:06:0${7 + index}+09:00`,
    data: data(`part ${index} `),
  }));
  const { events } = await importInputs([line({ payloads })], { format: tcppcFormat });
  const [event] = events;
  assert.ok(event.kind === 'session');
  assert.equal(Buffer.concat(event.session.chunks.map(({ bytes }) => bytes)).toString(), 'part 0 part 1 part 2 ');
});

test('tcppc: what is wrong is said', async () => {
  const wrong: [string, RegExp][] = [
    [line({ timestamp: 'yesterday' }), /timestamp/],
    [line({ timestamp: '1970-01-01T00:00:00Z' }), /before 1990/],
    [line({ timestamp: '2031-01-01T00:00:00Z' }), /after tomorrow/],
    [line({}, { src: '300.1.1.1' }), /source/],
    [line({}, { sport: 70_000 }), /source/],
    [line({}, { dst: undefined }), /destination/],
    [line({}, { dst: 'example.org' }), /destination/],
    [line({}, { proto: 'sctp' }), /protocol/],
    [line({ flow: [] }), /flow/],
    [line({ payloads: [{ index: 0, data: 'no base64!' }] }), /base64/],
    [line({ payloads: [5] }), /payload/],
    ['{"flow":', /JSON/],
  ];
  const { files, rejects, events } = await importInputs([wrong.map(([text]) => text).join('\n')], { format: tcppcFormat });
  assert.deepEqual([files[0].lines, files[0].rejected, events.length], [wrong.length, wrong.length, 0]);
  for (const { line: number, reason } of rejects) assert.match(reason, wrong[number - 1][1], wrong[number - 1][0]);
});
