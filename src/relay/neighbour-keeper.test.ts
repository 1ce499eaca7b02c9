import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decoyDirectory, decoyGroup } from '../../test/support/decoy-segment.ts';
import { parseNeighbourFrame, renderAddressProbe, renderAdvertisement, renderArpProbe } from '../kernel/neighbour-frame.ts';
import { type AddressRange, addressBytes, parseAddress, parseRange } from '../model/address.ts';
import { transportChecksum } from '../model/checksum.ts';
import { DecoyDirectory } from '../model/decoy.ts';
import { macBytes } from './announcer.ts';
import { type AddressConflict, NeighbourKeeper } from './neighbour-keeper.ts';

const bytes = (text: string): Uint8Array => {
  const address = parseAddress(text);
  assert.ok(address);
  return addressBytes(address);
};
const ownMac = macBytes('02:00:00:00:99:02');
const askerMac = macBytes('02:00:00:00:99:01');
const hostMac = macBytes('02:00:00:00:99:77');
const asker = bytes('fd98::1');

function solicitation(target: Uint8Array): Uint8Array {
  const frame = renderAddressProbe(askerMac, target);
  frame.set(asker, 22);
  frame.fill(0, 56, 58);
  const sum = transportChecksum(frame, 22, 32, 58, 54, frame.length);
  frame[56] = sum >> 8;
  frame[57] = sum & 255;
  return frame;
}

function bench(groups = [decoyGroup(['fd99::/64', '10.99.128.0/17'])], network = 'floor-3') {
  const sent: Uint8Array[] = [];
  const conflicts: AddressConflict[] = [];
  const time = { now: 1_000_000_000_000 };
  const directory = decoyDirectory(groups);
  const keeper = new NeighbourKeeper({
    network,
    interface: 'sv',
    mac: ownMac,
    directory,
    clock: () => time.now,
    send: (frame) => sent.push(frame) > 0,
    onConflict: (conflict) => conflicts.push(conflict),
  });
  const kinds = (): (string | undefined)[] => sent.splice(0).map((frame) => parseNeighbourFrame(frame)?.kind);
  return { sent, conflicts, time, directory, keeper, kinds };
}

test('the first touch asks the link, waits, then answers all who asked; later ones are answered at once', () => {
  const { keeper, time, sent, kinds, directory } = bench();
  const target = bytes('fd99::abcd');
  keeper.frame(solicitation(target));
  keeper.frame(solicitation(target));
  assert.deepEqual(kinds(), ['solicitation']);
  time.now += 250_000;
  keeper.tick();
  assert.deepEqual(kinds(), []);
  time.now += 60_000;
  keeper.tick();
  const answers = sent.map((frame) => parseNeighbourFrame(frame));
  assert.deepEqual(kinds(), ['advertisement', 'advertisement']);
  assert.deepEqual(answers[0]?.mac, macBytes(directory.find('fd99::abcd')?.mac ?? ''));
  assert.deepEqual(answers[0]?.target, target);
  keeper.frame(solicitation(target));
  assert.deepEqual(kinds(), ['advertisement']);
  assert.equal(keeper.waiting, false);
});

test('an owner that answers meanwhile keeps its address: nobody is answered, it is reported once', () => {
  const { keeper, time, kinds, conflicts } = bench();
  const target = bytes('fd99::abcd');
  keeper.frame(solicitation(target));
  keeper.frame(renderAdvertisement(hostMac, target, ownMac, new Uint8Array(16)));
  keeper.frame(renderAdvertisement(hostMac, target, ownMac, new Uint8Array(16)));
  time.now += 400_000;
  keeper.tick();
  keeper.frame(solicitation(target));
  time.now += 400_000;
  keeper.tick();
  assert.deepEqual(kinds(), ['solicitation']);
  assert.deepEqual(
    conflicts.map(({ ip, mac, evidence }) => [ip, mac, evidence]),
    [['fd99::abcd', '02:00:00:00:99:77', 'advertisement']],
  );
  assert.equal(keeper.counters.suppressed, 1);
});

test('a host that asks before taking an address a decoy already uses wins it', () => {
  const { keeper, time, kinds, conflicts } = bench();
  const target = bytes('fd99::abcd');
  keeper.frame(solicitation(target));
  time.now += 400_000;
  keeper.tick();
  kinds();
  keeper.frame(renderAddressProbe(hostMac, target));
  assert.deepEqual(
    conflicts.map(({ evidence }) => evidence),
    ['address-detection'],
  );
  keeper.frame(solicitation(target));
  assert.deepEqual(kinds(), []);
});

test('our own frames coming back, dead addresses, own addresses and strangers are none of its business', () => {
  const dead = decoyGroup(['fd99::/64'], { population: { seed: 7, shares: [] } });
  const own = decoyGroup(['fd97::/64'], { kind: 'own' });
  const { keeper, kinds, conflicts, directory } = bench([dead, own, decoyGroup(['fd96::/64'])]);
  for (const target of ['fd99::1', 'fd97::1', 'fd95::1']) keeper.frame(solicitation(bytes(target)));
  keeper.frame(renderAdvertisement(macBytes(directory.find('fd96::5')?.mac ?? ''), bytes('fd96::5'), askerMac, asker));
  keeper.frame(renderAddressProbe(ownMac, bytes('fd96::6')));
  keeper.frame(renderAdvertisement(hostMac, bytes('fd97::5'), askerMac, asker));
  assert.deepEqual(kinds(), []);
  assert.deepEqual(conflicts, []);
});

test('a flood of touches and of conflicts is bounded and counted', () => {
  const { keeper, conflicts, sent } = bench();
  for (let index = 0; index < 6000; index += 1) keeper.frame(solicitation(bytes(`fd99::1:${index.toString(16)}`)));
  assert.equal(sent.length, 4096);
  assert.equal(keeper.counters.refused, 6000 - 4096);
  for (let index = 0; index < 1000; index += 1)
    keeper.frame(renderAdvertisement(hostMac, bytes(`fd99::2:${index.toString(16)}`), ownMac, asker));
  assert.equal(conflicts.length, 256);
  assert.equal(keeper.counters.suppressed, 1000 - 256);
});

const less = ({ groups, personas }: DecoyDirectory, ...given: string[]): DecoyDirectory =>
  new DecoyDirectory(
    groups,
    personas,
    given.map((text) => parseRange(text) as AddressRange),
  );

test('who waits for an answer gets it though another address is given back meanwhile, and claims go on', () => {
  const { keeper, time, kinds, directory } = bench();
  const [claimed, awaited, given] = ['fd99::1', 'fd99::2', 'fd99::3'].map(bytes);
  keeper.frame(solicitation(claimed));
  time.now += 400_000;
  keeper.tick();
  keeper.frame(solicitation(awaited));
  keeper.frame(solicitation(given));
  assert.deepEqual(kinds(), ['solicitation', 'advertisement', 'solicitation', 'solicitation']);
  keeper.setDirectory(less(directory, 'fd99::3'));
  keeper.frame(solicitation(claimed));
  assert.deepEqual(kinds(), ['advertisement'], 'a claim is not asked for again');
  keeper.frame(solicitation(awaited));
  time.now += 400_000;
  keeper.tick();
  assert.deepEqual(kinds(), ['advertisement', 'advertisement'], 'both who asked, and nobody for what was given back');
  keeper.frame(solicitation(given));
  assert.deepEqual(kinds(), []);
});

test('a claim ends with its decoy: given back, dead or with another MAC', () => {
  const { keeper, time, kinds, directory } = bench();
  const target = bytes('fd99::1');
  const claim = (): void => {
    keeper.frame(solicitation(target));
    time.now += 400_000;
    keeper.tick();
  };
  claim();
  kinds();
  keeper.setDirectory(less(directory, 'fd99::1'));
  keeper.frame(solicitation(target));
  assert.deepEqual(kinds(), [], 'given back');
  keeper.setDirectory(directory);
  claim();
  assert.deepEqual(kinds(), ['solicitation', 'advertisement'], 'a decoy again: asked for anew');
  keeper.setDirectory(decoyDirectory([decoyGroup(['fd99::/64'], { macs: { 'fd99::1': '00:0c:29:aa:bb:cc' } })]));
  keeper.frame(solicitation(target));
  assert.deepEqual(kinds(), ['solicitation'], 'who has another MAC now must ask again');
  time.now += 400_000;
  keeper.tick();
  keeper.setDirectory(decoyDirectory([decoyGroup(['fd99::/64'], { population: { seed: 7, shares: [] } })]));
  kinds();
  keeper.frame(solicitation(target));
  assert.deepEqual(kinds(), [], 'dead');
});

/** What a host says that has the address it was asked for. */
function probeAnswer(ip: string, toMac = ownMac): Uint8Array {
  const frame = renderArpProbe(hostMac, bytes('0.0.0.0'));
  frame.set(toMac, 0);
  frame[21] = 2;
  frame.set(bytes(ip), 28);
  frame.set(toMac, 32);
  return frame;
}

test('a segment is swept, the machine itself is not; nobody announces what has not been asked for', () => {
  const ranges = ['10.99.128.0/24'];
  const { keeper, sent, time } = bench([decoyGroup(ranges)]);
  assert.ok(keeper.sweeping);
  assert.ok(!keeper.announcing);
  keeper.sweep(100, time.now + 1_000_000);
  assert.ok(!keeper.announcing, 'some that shall announce themselves have not been asked for');
  keeper.sweep(200, time.now + 1_000_000);
  assert.ok(keeper.announcing);
  assert.equal(sent.length, 256);
  assert.equal(new Set(sent.map((frame) => frame[41])).size, 256, 'each once');
  for (const frame of sent) assert.deepEqual([frame.subarray(6, 12), frame.subarray(28, 32)], [ownMac, bytes('0.0.0.0')]);
  assert.equal(keeper.counters.sweepProbes, 256);
  const home = bench([decoyGroup(ranges)], '');
  assert.ok(!home.keeper.sweeping);
  assert.ok(home.keeper.announcing);
});

test('hosts a sweep finds are counted; more than a minute may report wait for the next, and are not lost', () => {
  const { keeper, conflicts, time } = bench([decoyGroup(['10.99.128.0/23'])]);
  for (let index = 0; index < 400; index += 1) keeper.frame(probeAnswer(`10.99.${128 + (index >> 8)}.${index & 255}`));
  keeper.frame(probeAnswer('10.99.128.0'));
  keeper.frame(probeAnswer('10.99.129.200', askerMac));
  keeper.frame(probeAnswer('10.99.129.200', askerMac));
  assert.equal(conflicts.length, 256);
  assert.equal(keeper.counters.sweepConflicts, 400, 'answers to others are no find of ours');
  assert.equal(keeper.counters.suppressed, 3);
  keeper.tick();
  assert.equal(conflicts.length, 256);
  assert.ok(keeper.waiting);
  time.now += 60_000_000;
  keeper.tick();
  assert.equal(new Set(conflicts.map(({ ip }) => ip)).size, 400);
  assert.equal(keeper.counters.conflicts, 400);
  assert.ok(!keeper.waiting);
});

test('new decoys in a segment are swept for, those asked for before and those given back are not', () => {
  const old = decoyGroup(['10.99.128.0/30']);
  const { keeper, sent, time, directory } = bench([old]);
  const pass = (): string[] => {
    for (let round = 0; round < 4; round += 1) {
      keeper.sweep(1000, time.now + 1_000_000);
      time.now += 1_100_000;
    }
    return sent.splice(0).map((frame) => [...frame.subarray(38, 42)].join('.'));
  };
  assert.equal(new Set(pass()).size, 4);
  assert.ok(!keeper.sweeping);
  keeper.setDirectory(less(directory, '10.99.128.1'));
  assert.ok(!keeper.sweeping, 'giving back is nothing new');
  const wider = decoyDirectory([old, decoyGroup(['10.99.129.0/31'], { diversion: 'lab-2' })]);
  keeper.setDirectory(less(wider, '10.99.128.1', '10.99.129.1'));
  assert.deepEqual(pass(), ['10.99.129.0', '10.99.129.0']);
});
