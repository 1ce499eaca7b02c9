// What strangers and a stolen agent's certificate can do, with whole programs: nobody without a certificate gets past the TLS
// handshake, and a thief hands in what that agent could and nothing else. Each attempt is refused, counted and told.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import type { WeirEvent } from '../../src/model/event.ts';
import { createIdentifier } from '../../src/model/identifier.ts';
import { tlvType } from '../../src/model/proxy-protocol.ts';
import { type SessionRecord, takenBackSequence } from '../../src/model/session.ts';
import type { Recorded } from '../../src/programs/weir-lab.ts';
import { SpoolBatch } from '../../src/record/spool-batch.ts';
import { AgentIdentity } from '../../src/relay/agents/agent-identity.ts';
import { parseToken } from '../../src/relay/agents/enrolment-token.ts';
import { renderFlowHeader } from '../../src/relay/link/flow-header.ts';
import { type FleetBed, withFleet } from '../support/fleet-bed.ts';
import { lacksKernelTests, runCommand, until } from '../support/namespace.ts';
import { knock, type Stolen, Thief, type ThiefPlace } from '../support/thief.ts';

const skip = lacksKernelTests();
const configuration = `
diversions:
  - { name: one, kind: agent, agent: branch-1, listen: { ports: [8000] } }
  - { name: two, kind: agent, agent: branch-2, listen: { ports: [8000, 8001] } }
`;

interface Counted {
  readonly links: Readonly<Record<string, number>>;
  readonly spool: Readonly<Record<string, number>>;
}

const counted = async (bed: FleetBed): Promise<Counted> => ((await bed.lab.gateway()) as unknown as { links: Counted }).links;
const placeOf = (bed: FleetBed): ThiefPlace => ({ from: bed.lab.attacker, to: { host: '10.0.0.2', port: 7443 } });

const idOf = ({ weir }: Recorded): string => String((weir.session as { id: string }).id);

function record(said: Partial<SessionRecord>): WeirEvent {
  const start = systemClock() - 60e6;
  return {
    kind: 'session',
    session: {
      id: createIdentifier(start),
      sequence: 9,
      start,
      end: start + 1000,
      transport: 'tcp',
      source: { ip: '192.0.2.1', port: 4000 },
      destination: { ip: '10.9.1.5', port: 8000 },
      sourceReliable: true,
      diversion: 'one',
      service: 'catch-all',
      outcome: 'client-closed',
      bytesIn: 0,
      bytesOut: 0,
      firstChunk: 0,
      chunks: [],
      truncated: false,
      ...said,
    },
  };
}

function batchOf(...events: readonly WeirEvent[]): Uint8Array {
  const batch = new SpoolBatch();
  for (const event of events) assert.ok(batch.add(event));
  return Buffer.from(batch.bytes());
}

test('a stranger gets no further than the handshake', { skip, timeout: 120_000 }, () =>
  withFleet(configuration, async (bed) => {
    const branch = await bed.addBranch('branch-1');
    await bed.lab.up();
    const token = await bed.token('branch-1');
    const used = await AgentIdentity.open(path.join(bed.lab.directory, 'watcher'));
    const { credentials: fromToken } = await used.beginEnrolment(parseToken(token));
    const agent = bed.start(branch, { token });
    await agent.linked();
    const [key, pair] = ['key.pem', 'pair.pem'].map((name) => path.join(bed.lab.directory, name));
    await runCommand([
      ...['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-subj', '/CN=branch-1', '-keyout', key, '-out', pair],
    ]);
    const ownMade: Stolen = { key: readFileSync(key, 'utf8'), certificate: readFileSync(pair, 'utf8') };
    const before = (await counted(bed)).links;
    for (const stolen of [undefined, ownMade, fromToken]) {
      const { heardBytes } = await knock(placeOf(bed), stolen);
      assert.equal(heardBytes, 0);
    }
    const after = await until('they are counted', async () => {
      const { links } = await counted(bed);
      return links.handshakesFailed + links.notAdmitted === before.handshakesFailed + before.notAdmitted + 3 ? links : undefined;
    });
    assert.equal(after.notAdmitted, before.notAdmitted, 'in the handshake, not behind it');
    assert.deepEqual([after.links, after.enrolled], [before.links, before.enrolled]);
    assert.equal((await bed.status('branch-1'))?.state, 'linked');
  }),
);

test("a stolen certificate hands in its own agent's sessions and nothing else", { skip, timeout: 120_000 }, () =>
  withFleet(configuration, async (bed) => {
    const [one, two] = [await bed.addBranch('branch-1'), await bed.addBranch('branch-2')];
    const weir = await bed.lab.up();
    const agent = await bed.enrol(one);
    await bed.enrol(two);
    await two.ask(8000);
    await one.ask(8000);
    const [first, second] = (await bed.ended(2)).sort((a, b) => (idOf(a) < idOf(b) ? -1 : 1));
    const stored = async (): Promise<string> =>
      JSON.stringify([await bed.lab.reader.session(idOf(first)), await bed.lab.reader.session(idOf(second))]);
    const untouched = await stored();
    await agent.end();
    const stolen = (await AgentIdentity.open(one.data)).credentials();

    let thief = await Thief.enter(placeOf(bed), stolen);
    await bed.shown('branch-1', 'a peer elsewhere', ({ peer = '' }) => peer.startsWith('10.0.0.1:'));
    const before = await counted(bed);

    // Flows: another agent's decoy is not known here by its address, but its ports and segments are.
    const source = { ip: '192.0.2.66', port: 5000 };
    const flow = (port: number, transport: 'tcp' | 'udp' = 'tcp') => ({
      flow: { transport, source, destination: { ip: '10.9.2.5', port } },
    });
    const netns = { type: tlvType.netns, value: Buffer.from('floor-3') };
    for (const header of [
      renderFlowHeader(flow(8001)),
      renderFlowHeader(flow(22)),
      renderFlowHeader(flow(8000, 'udp')),
      renderFlowHeader({ ...flow(8000), tlvs: [netns] }),
    ])
      assert.equal(await thief.ask('POST', '/flow', header), 0);
    assert.equal((await counted(bed)).links.placesRefused, before.links.placesRefused + 4);
    assert.equal(await thief.ask('POST', '/flow', 'PROXY TCP4 192.0.2.66 10.9.1.5 5000 8000\r\n'), 0);
    assert.equal((await counted(bed)).links.headersRefused, before.links.headersRefused + 1);

    // Records: under names and identifiers of others.
    const foreign = [
      record({ diversion: 'two', destination: { ip: '10.9.2.5', port: 8000 } }),
      record({ diversion: 'two', agent: 'branch-2', destination: { ip: '10.9.2.5', port: 8001 } }),
      record({ destination: { ip: '10.9.1.5', port: 22 } }),
      record({ id: idOf(first), sequence: 1_000_000, source: { ip: '192.0.2.2', port: 1 }, agent: 'branch-2' }),
      record({ id: idOf(second), sequence: takenBackSequence + 9, source: { ip: '192.0.2.3', port: 1 } }),
      {
        kind: 'alert',
        alert: {
          id: createIdentifier(systemClock()),
          at: systemClock(),
          name: 'disk-full',
          severity: 'high',
          message: 'no',
          details: {},
        },
      },
    ] as unknown as WeirEvent[];
    assert.equal(await thief.ask('POST', '/spool', batchOf(...foreign)), 200);
    const taken = (await counted(bed)).spool;
    // What is of nobody's diversion may be of rules it had before: kept, under a name that is the agent's own and no diversion's.
    for (const [kind, count] of [
      ['foreign', 2],
      ['malformed', 0],
      // An alert is taken under the agent's name (agent-alerts.ts).
      ['alerts', 1],
      ['displaced', 1],
      ['sessions', 3],
    ] as const)
      assert.equal(taken[kind] - before.spool[kind], count, kind);
    const sessions = await bed.ended(5);
    assert.equal(sessions.length, 5);
    for (const session of sessions.filter((each) => each.source.ip.startsWith('192.0.2.'))) {
      const diversion = session.destination.port === 8000 ? 'one' : 'agent branch-1';
      assert.deepEqual([session.weir.agent, session.weir.diversion], ['branch-1', diversion], 'whatever it says');
      assert.ok(idOf(session) !== idOf(first) && idOf(session) !== idOf(second));
    }
    assert.equal(await stored(), untouched, 'what was on record is as it was');
    assert.notEqual(await thief.ask('POST', '/spool', Buffer.alloc(100_000, 'x')), 200);

    // Other places, and other words.
    for (const [method, at] of [
      ['POST', '/enrol'],
      ['GET', '/program/../../agents/authority.pem'],
      ['GET', '/program/9.9.9'],
      ['GET', '/'],
    ])
      assert.ok([0, 404].includes(await thief.ask(method, at)), at);
    assert.equal((await counted(bed)).links.enrolled, before.links.enrolled);
    assert.doesNotMatch(thief.said, /branch-2|"two"/, 'it learns of its own part alone');
    for (const words of [
      '{"kind":"agents-add","names":["branch-9"]}\n',
      '{"kind":"hello","agent":"branch-2"}\n',
      `{"kind":"health","reasons":["${'x'.repeat(2 ** 21)}"]}\n`,
    ]) {
      if (thief.ended) thief = await Thief.enter(placeOf(bed), stolen);
      const { misbehaved } = (await counted(bed)).links;
      thief.control.write(words);
      await until(`ended for ${words.slice(0, 20)}`, () => thief.ended);
      assert.equal((await counted(bed)).links.misbehaved, misbehaved + 1);
    }
    await thief.leave();
    assert.equal((await bed.status('branch-9'))?.state, undefined);
    for (const told of [/a flow that is not of its diversions/, /records of an agent were not taken/])
      assert.match(weir.output, told);

    // The owner ends it.
    await bed.lab.weir(['agents', 'remove', 'branch-1']);
    assert.equal((await knock(placeOf(bed), stolen)).heardBytes, 0);
    assert.equal((await bed.status('branch-2'))?.state, 'linked');
    assert.equal((await bed.ended(5)).length, 5);
  }),
);
