// Sessions as their records come, and the frames Suricata is shown of them, read by tshark.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { dissectFrames, findAmiss, type TimedFrame, withoutTshark } from '../../test/support/frame-check.ts';
import { sampleChunk, sampleSession } from '../../test/support/sample-records.ts';
import { DecoyDirectory, type DecoyGroup } from '../model/decoy.ts';
import type { Persona } from '../model/persona.ts';
import { takenBackSequence } from '../model/session.ts';
import { macLookup } from './decoy-faces.ts';
import { FlowIndex, type IndexedFlow } from './flow-index.ts';
import { SessionFeeder, type SessionFeederOptions } from './session-feeder.ts';

const start = 1_772_600_000_000_000;

function bed(options: Partial<SessionFeederOptions> = {}) {
  const frames: TimedFrame[] = [];
  const flows: IndexedFlow[] = [];
  const index = new FlowIndex();
  const feeder = new SessionFeeder({
    index,
    write: (frame) => frames.push({ frame, at: start + frames.length * 10 }),
    clock: () => start + 5_000_000,
    sightOf: () => ({ sight: 'synthesised', vlan: 3 }),
    onFlow: (flow) => flows.push(flow),
    ...options,
  });
  return { frames, flows, index, feeder };
}

const request = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const chunks = [sampleChunk(start, 'in', request), sampleChunk(start, 'out', 'HTTP/1.1 200 OK\r\n\r\n')];
const flagsOf = (frames: readonly TimedFrame[]): string =>
  dissectFrames(frames, ['tcp.flags.str'])
    .map(([text]) => text.replaceAll('·', ''))
    .join(' ');

/** 0x16 0x03 0x01, length, handshake type 1. */
const hello = Buffer.concat([Buffer.from([22, 3, 1, 0, 60, 1, 0, 0, 56, 3, 3]), Buffer.alloc(54, 7)]);

describe('sessions shown to Suricata', { skip: withoutTshark }, () => {
  it('are whole however their records are cut, and each byte once', () => {
    const { frames, feeder, index } = bed();
    const whole = sampleSession(start, 1, { chunks, outcome: 'client-closed' });
    feeder.take({ ...whole, sequence: 0, chunks: [], outcome: 'open' });
    feeder.take({ ...whole, sequence: 1, chunks: chunks.slice(0, 1), outcome: 'open' });
    // The same again, and the rest.
    feeder.take({ ...whole, sequence: 1, chunks: chunks.slice(0, 1), outcome: 'open' });
    feeder.take({ ...whole, sequence: 2, firstChunk: 1, chunks: chunks.slice(1) });
    assert.equal(flagsOf(frames), 'S AS A AP A A AP A AF AF A');
    assert.deepEqual(findAmiss(frames), []);
    assert.equal(index.get(whole.id)?.to, start + 5_000_000);
    assert.deepEqual(
      { ...feeder.counters() },
      { sessions: 1, open: 0, forgotten: 0, joinedLate: 0, unshown: 0, missingChunks: 0 },
    );
  });

  it('over TLS that was ended at the decoy are two flows: the hello, and the plain text', () => {
    const message = hello.subarray(5);
    const inRecords = [message.subarray(0, 3), message.subarray(3, 40), message.subarray(40)].map((part) =>
      Buffer.concat([Buffer.from([22, 3, 1, 0, part.length]), part]),
    );
    for (const said of [
      [hello, request],
      [hello.subarray(0, 20), hello.subarray(20), request],
      // Cut so that no piece tells what it is, or so that its first record does not hold it.
      [hello.subarray(0, 1), hello.subarray(1), request],
      [...hello].map((byte) => Buffer.from([byte])).concat(Buffer.from(request)),
      [...inRecords, request],
      [Buffer.concat(inRecords).subarray(0, 10), Buffer.concat(inRecords).subarray(10), request],
    ]) {
      const whole = Buffer.concat(said.slice(0, -1).map((part) => Buffer.from(part)));
      const { frames, feeder } = bed();
      const all = [...said.map((bytes) => sampleChunk(start, 'in', bytes)), chunks[1]];
      feeder.take(sampleSession(start, 1, { destination: { ip: '10.66.3.4', port: 443 }, chunks: all }));
      const rows = dissectFrames(frames, ['tcp.stream', 'tcp.payload', 'tcp.srcport'], 'tcp.len > 0 && tcp.dstport == 443');
      const by = (stream: string): Buffer =>
        Buffer.from(
          rows
            .filter((row) => row[0] === stream)
            .map((row) => row[1])
            .join(''),
          'hex',
        );
      assert.ok(by('0').equals(whole));
      assert.equal(by('1').toString(), request);
      assert.deepEqual(findAmiss(frames), []);
    }
  });

  it('that began plain and went on in TLS are three; TLS that nobody ended is one', () => {
    const started = bed();
    const talk = [
      sampleChunk(start, 'out', '220 hi\r\n'),
      sampleChunk(start, 'in', 'STARTTLS\r\n'),
      sampleChunk(start, 'in', hello),
      sampleChunk(start, 'in', 'EHLO a\r\n'),
    ];
    started.feeder.take(sampleSession(start, 1, { chunks: talk }));
    assert.equal(flagsOf(started.frames).match(/\bS\b/g)?.length, 3);
    const sealed = bed();
    const answer = Buffer.concat([Buffer.from([22, 3, 3, 0, 4, 2, 0, 0, 0])]);
    sealed.feeder.take(sampleSession(start, 1, { chunks: [sampleChunk(start, 'in', hello), sampleChunk(start, 'out', answer)] }));
    assert.equal(flagsOf(sealed.frames).match(/\bS\b/g)?.length, 1);
  });

  it('whose writer died are reset; those without their beginning are shown from there and counted', () => {
    const { frames, feeder } = bed();
    feeder.take(sampleSession(start, 1, { chunks: [], outcome: 'open', writer: 'gateway#4' }));
    feeder.take(sampleSession(start, 2, { chunks: [], outcome: 'open', writer: 'gateway#5' }));
    feeder.endRuns('agents', 9);
    assert.equal(feeder.counters().open, 2);
    feeder.endRuns('gateway', 5);
    assert.equal(feeder.counters().open, 1);
    assert.equal(flagsOf(frames).split(' ').at(-1), 'AR');
    feeder.take(sampleSession(start, 3, { firstChunk: 7, sequence: 4, chunks, outcome: 'open' }));
    assert.equal(feeder.counters().joinedLate, 1);
  });

  it('that an agent took back are shown whole as the agent had them, and the gateway is not heard after that', () => {
    const { frames, feeder } = bed();
    const syn = { ttl: 64, ipId: 1, doNotFragment: true, window: 64_240, sequence: 77, options: 'mss', mss: 1460 };
    const theirs = sampleSession(start, 1, { chunks: [sampleChunk(start, 'in', 'no'), chunks[1]], outcome: 'open', syn });
    const agents = { ...theirs, sequence: takenBackSequence, chunks: [sampleChunk(start, 'in', request)] };
    feeder.take(theirs);
    feeder.take(agents);
    feeder.take({ ...theirs, sequence: 1, firstChunk: 2, outcome: 'client-reset' });
    feeder.take({ ...agents, sequence: takenBackSequence + 1, firstChunk: 1, chunks: [chunks[1]], outcome: 'client-closed' });
    feeder.take({ ...theirs, sequence: 2, firstChunk: 4, chunks: [], outcome: 'interrupted' });
    const said = dissectFrames(frames, ['tcp.stream', 'tcp.payload'], 'tcp.len > 0 && tcp.dstport == 22');
    assert.deepEqual(
      said.map(([stream, payload]) => [stream, Buffer.from(payload, 'hex').toString()]),
      [
        ['0', 'no'],
        ['1', request],
      ],
    );
    assert.deepEqual(findAmiss(frames), []);
    assert.deepEqual([feeder.counters().sessions, feeder.counters().open, feeder.counters().missingChunks], [2, 0, 0]);
  });

  it('wear the MAC that the decoy shows on its link, and the one the attacker had', () => {
    const range = { family: 4, first: 0x0a420300n, last: 0x0a4203ffn } as const;
    const population = { alive: 10_000, seed: 7, shares: [{ persona: 'linux-web', share: 10_000 }] };
    const group = {
      diversion: 'dmz',
      kind: 'claimed',
      ranges: [range],
      population,
      macs: {},
      place: { file: '', line: 0 },
    } as const;
    const personas = new Map([['linux-web', { name: 'linux-web', macPrefixes: ['00:0c:29', '00:50:56'] } as unknown as Persona]]);
    const decoy = new DecoyDirectory([group as unknown as DecoyGroup], personas).find('10.66.3.4');
    const faces = {
      groups: [{ diversion: 'dmz', ranges: ['10.66.3.0/24'], seed: 7, macs: { '10.66.3.9': '02:00:00:00:00:99' } }],
      prefixes: { 'linux-web': ['00:0c:29', '00:50:56'] },
    };
    const { frames, feeder } = bed({ macOf: macLookup(faces) });
    feeder.take(sampleSession(start, 1, { sourceMac: '00:11:22:33:44:55', chunks }));
    assert.deepEqual(dissectFrames(frames, ['eth.src', 'eth.dst'])[0], ['00:11:22:33:44:55', decoy?.mac]);
    const macOf = macLookup(faces);
    assert.equal(macOf({ diversion: 'dmz', ip: '10.66.3.9', persona: 'linux-web' }), '02:00:00:00:00:99');
    assert.equal(macOf({ diversion: 'other', ip: '10.66.3.4', persona: 'linux-web' }), undefined);
    assert.equal(macOf({ diversion: 'dmz', ip: '10.66.3.4' }), undefined);
  });

  it('that are open stay known however many come after them', () => {
    const index = new FlowIndex(10);
    const { feeder } = bed({ index });
    const open = sampleSession(start, 1, { chunks: [], outcome: 'open' });
    feeder.take(open);
    for (let number = 2; number < 30; number += 1) feeder.take(sampleSession(start, number, { chunks }));
    assert.equal(index.get(open.id), undefined);
    feeder.take({ ...open, sequence: 1, chunks, outcome: 'open' });
    assert.equal(index.get(open.id)?.id, open.id);
  });

  it('beyond the bound end the oldest', () => {
    const { frames, feeder } = bed({ maxFlows: 3 });
    for (let number = 0; number < 5; number += 1) feeder.take(sampleSession(start, number, { chunks: [], outcome: 'open' }));
    assert.deepEqual([feeder.counters().open, feeder.counters().forgotten], [3, 2]);
    assert.equal(flagsOf(frames).match(/AR/g)?.length, 2);
  });
});

describe('sessions of which Suricata sees the packets', () => {
  it('make no frames, and are in the index by their own times', () => {
    const { frames, flows, feeder, index } = bed({ sightOf: () => ({ sight: 'native' }) });
    const one = sampleSession(start, 1, { chunks });
    feeder.take(one);
    assert.equal(frames.length, 0);
    assert.deepEqual([flows[0].from, index.get(one.id)?.to], [one.start, one.end]);
    // Packets after the clock was set back are earlier than their session's own beginning.
    const back = bed({ sightOf: () => ({ sight: 'native' }), clock: () => start - 3_600_000_000 });
    back.feeder.take(sampleSession(start, 2, { chunks, outcome: 'open' }));
    assert.equal(back.flows[0].from, start - 3_600_000_000);
  });

  it('and those whose addresses make none are counted', () => {
    const { feeder } = bed();
    feeder.take(sampleSession(start, 1, { destination: { ip: '2001:db8::1', port: 1 } }));
    feeder.take(sampleSession(start, 2, { source: { ip: 'nonsense', port: 1 } }));
    assert.equal(feeder.counters().unshown, 2);
  });
});
