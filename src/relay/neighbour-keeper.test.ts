import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decoyDirectory, decoyGroup } from '../../test/support/decoy-segment.ts';
import { transportChecksum } from '../kernel/checksum.ts';
import { parseNeighbourFrame, renderAddressProbe, renderAdvertisement } from '../kernel/neighbour-frame.ts';
import { addressBytes, parseAddress } from '../model/address.ts';
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

function bench(groups = [decoyGroup(['fd99::/64', '10.99.128.0/17'])]) {
  const sent: Uint8Array[] = [];
  const conflicts: AddressConflict[] = [];
  const time = { now: 1_000_000_000_000 };
  const directory = decoyDirectory(groups);
  const keeper = new NeighbourKeeper({
    network: 'floor-3',
    interface: 'sv',
    mac: ownMac,
    directory,
    clock: () => time.now,
    send: (frame) => sent.push(frame),
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
