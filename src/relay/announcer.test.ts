import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decoyDirectory, decoyGroup } from '../../test/support/decoy-segment.ts';
import { isZero, parseNeighbourFrame } from '../kernel/neighbour-frame.ts';
import { addressFromBytes, renderAddress } from '../model/address.ts';
import { renderMac } from '../model/population.ts';
import { Announcer, announcedLimit, chooseAnnounced } from './announcer.ts';

const half = { seed: 7, shares: [{ persona: 'all-open', share: 5_000 }] };

test('the chosen are alive, spread over every range, and never more than the limit', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ third: fc.nat(200), bits: fc.integer({ min: 16, max: 32 }) }), { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 0, max: 10_000 }),
      (parts, share) => {
        const ranges = parts.map(({ third, bits }, index) => `10.${index}.${third}.0/${bits}`);
        const population = { seed: 3, shares: [{ persona: 'all-open', share }] };
        const directory = decoyDirectory(ranges.map((range) => decoyGroup([range], { population })));
        const chosen = chooseAnnounced(directory, undefined);
        assert.ok(chosen.length <= announcedLimit);
        const values = chosen.map(({ address }) => address.value);
        assert.equal(new Set(values).size, values.length);
        for (const { address, mac } of chosen) assert.equal(directory.find(renderAddress(address))?.mac, renderMac(mac));
      },
    ),
  );
});

test('a million decoys give 256 from one end to the other; a small range gives all of its living', () => {
  const large = chooseAnnounced(decoyDirectory([decoyGroup(['10.16.0.0/12'], { population: half })]), undefined);
  assert.ok(large.length > 250, `${large.length}`);
  for (let part = 0; part < 16; part += 1)
    assert.ok(large.filter(({ address }) => address.value >> 16n === BigInt(0x0a10 + part)).length >= 14);
  const directory = decoyDirectory([decoyGroup(['10.0.0.0/25', 'fd99::/122'], { population: half })]);
  let living = 0;
  for (let index = 0; index < 128; index += 1) if (directory.find(`10.0.0.${index}`)) living += 1;
  for (let index = 0; index < 64; index += 1) if (directory.find(`fd99::${index.toString(16)}`)) living += 1;
  assert.equal(chooseAnnounced(directory, undefined).length, living);
});

test('own addresses, other diversions, wide IPv6 ranges and what was given back are not announced', () => {
  const directory = decoyDirectory([
    decoyGroup(['10.0.0.0/29'], { kind: 'own' }),
    decoyGroup(['10.0.1.0/29'], { diversion: 'other' }),
    decoyGroup(['fd99::/64']),
    decoyGroup(['10.0.2.0/31']),
  ]);
  const chosen = chooseAnnounced(directory, new Set(['lab']));
  assert.deepEqual(
    chosen.map(({ address }) => renderAddress(address)),
    ['10.0.2.0', '10.0.2.1'],
  );
});

function bench(ranges: readonly string[]) {
  const sent: { at: number; frame: Uint8Array }[] = [];
  const time = { now: 1_000_000_000_000 };
  const counts = { announced: 0, announceProbes: 0 };
  const directory = decoyDirectory([decoyGroup(ranges)]);
  const announcer = new Announcer({
    clock: () => time.now,
    send: (frame) => sent.push({ at: time.now, frame }),
    counted: (what) => {
      counts[what] += 1;
    },
  });
  const pass = (ms: number): void => {
    for (let passed = 0; passed < ms; passed += 50) {
      time.now += 50_000;
      announcer.tick(directory, undefined, 1000);
    }
  };
  return { sent, counts, announcer, directory, pass };
}

test('each asks first, then says twice where it is, with its own MAC in the frame and in the message', () => {
  const { sent, pass, announcer, directory } = bench(['10.0.0.8/31', 'fd99::8/127']);
  pass(6000);
  assert.equal(announcer.waiting, false);
  const kinds = new Map<string, string[]>();
  for (const { frame } of sent) {
    const parsed = parseNeighbourFrame(frame);
    assert.ok(parsed, 'a frame the RFCs allow');
    const ip = renderAddress(addressFromBytes(parsed.target));
    assert.equal(renderMac(parsed.frameMac), directory.find(ip)?.mac);
    assert.deepEqual(parsed.mac, parsed.frameMac);
    const probe = isZero(parsed.sender) ? ' probe' : '';
    // An announcement is for itself; an advertisement comes from its target.
    if (!probe) assert.equal(renderAddress(addressFromBytes(parsed.sender)), ip);
    kinds.set(ip, [...(kinds.get(ip) ?? []), `${parsed.kind}${probe}`]);
    if (frame.length === 42) assert.deepEqual([...frame.subarray(0, 6)], Array(6).fill(0xff));
    // RFC 4861 7.2.6: to all nodes, Override set, Solicited not.
    if (parsed.kind === 'advertisement') assert.deepEqual([frame[38], frame[53], frame[58]], [0xff, 1, 0x20]);
  }
  for (const ip of ['10.0.0.8', '10.0.0.9']) assert.deepEqual(kinds.get(ip), ['arp-request probe', 'arp-request', 'arp-request']);
  for (const ip of ['fd99::8', 'fd99::9'])
    assert.deepEqual(kinds.get(ip), ['solicitation probe', 'advertisement', 'advertisement']);
});

test('no second has more than fifty frames and a bit, and the whole is bounded and counted', () => {
  const { sent, pass, counts, announcer } = bench(['10.0.0.0/16']);
  pass(20_000);
  assert.equal(announcer.waiting, false);
  assert.deepEqual(counts, { announceProbes: announcedLimit, announced: 2 * announcedLimit });
  for (const { at } of sent) {
    const within = sent.filter((other) => other.at >= at && other.at < at + 1_000_000).length;
    assert.ok(within <= 50 + 13, `${within} within a second`);
  }
});

test('who is answered by a live host announces nothing', () => {
  const { sent, pass, announcer } = bench(['10.0.0.8/31']);
  pass(500);
  announcer.conflict('10.0.0.8');
  pass(6000);
  const announced = sent.filter(({ frame }) => !isZero(frame.subarray(28, 32))).map(({ frame }) => frame[41]);
  assert.deepEqual([...new Set(announced)], [9]);
  assert.equal(announcer.waiting, false);
});
