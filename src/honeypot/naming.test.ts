// Names of decoys: told to the link, kept from everybody else, never a storm.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseAddress } from '../model/address.ts';
import { dnsTypes, renderDnsAnswer, renderName } from '../model/dns-message.ts';
import { hostName, netbiosName } from '../model/host-name.ts';
import { renderReverseName } from '../model/name-book.ts';
import { encodeNetbiosName } from '../model/netbios-message.ts';
import { namedPersonas, namingStage } from './naming-stage.ts';
import { Rehearsal } from './rehearsal.ts';
import { dns } from './responders/infrastructure.ts';

const nameOf = (persona: string, ip: string): string => {
  const known = namedPersonas.get(persona);
  assert.ok(known);
  return hostName(known, ip);
};
const reverse = (ip: string): string[] => {
  const address = parseAddress(ip);
  assert.ok(address);
  return renderReverseName(address);
};
const query = (labels: readonly string[], type: number, of = 1, id = 0x0102): Buffer => {
  const bytes = renderDnsAnswer(id, 0x0000, [{ labels, type, class: of, unicast: false }], []);
  return bytes;
};
const status = Buffer.concat([
  Buffer.from('80f000100001000000000000', 'hex'),
  encodeNetbiosName('*', 0),
  Buffer.from('00210001', 'hex'),
]);
const nameQuery = (name: string, suffix: number): Buffer =>
  Buffer.concat([
    Buffer.from('000101100001000000000000', 'hex'),
    encodeNetbiosName(name, suffix),
    Buffer.from('00200001', 'hex'),
  ]);

const desktop = '10.1.0.42';
const desktopName = nameOf('desktop', desktop);
const beyond = { ip: '192.0.2.7' };

test('a node status question is answered with names, workgroup and MAC: on the link, with hop limit 1', () => {
  const { ask, sink, names } = namingStage();
  const said = ask(desktop, 137, status);
  assert.deepEqual([said?.how, said?.hopLimit, said?.toGroup], ['on-link', 1, false]);
  const text = said?.bytes.toString('latin1') ?? '';
  assert.ok(text.includes(netbiosName(desktopName)) && text.includes('WORKGROUP'));
  const address = parseAddress(desktop);
  assert.ok(address);
  assert.ok(text.includes(Buffer.from(names.directory.find(address)?.mac?.replaceAll(':', '') ?? '', 'hex').toString('latin1')));
  assert.equal(sink.sessions.length, 1);
  assert.equal(sink.sessions[0].findings.protocol, 'netbios');
});

test('the same from beyond the link, or to a persona without NetBIOS, is silence on record', () => {
  const { ask, sink } = namingStage();
  assert.equal(ask(desktop, 137, status, beyond), undefined);
  assert.equal(ask(desktop, 5353, query([desktopName, 'local'], 1), beyond), undefined);
  assert.equal(ask('10.1.0.255', 137, nameQuery(nameOf('web', '10.1.0.102'), 0)), undefined);
  assert.equal(sink.sessions.length, 2);
});

test('a broadcast for a name is answered by the decoy of that name; a file server name only by file servers', () => {
  const { ask, sink } = namingStage();
  for (const suffix of [0x00, 0x20]) {
    const said = ask('10.1.0.255', 137, nameQuery(netbiosName(desktopName), suffix));
    assert.equal(said?.bytes.subarray(-4).join('.'), desktop);
    assert.equal(said?.toGroup, false);
  }
  assert.equal(ask('10.1.0.255', 137, nameQuery(netbiosName(desktopName), 0x1b)), undefined);
  assert.equal(ask('10.1.0.255', 137, nameQuery('FILESERVER', 0x20)), undefined);
  // One question to all must not be answered by all.
  assert.equal(ask('10.1.0.255', 137, status), undefined);
  assert.deepEqual(sink.sessions[0].start.destination, { ip: desktop, port: 137 });
  assert.deepEqual(sink.sessions[0].findings.tags, ['asked-of-all', 'group-10.1.0.255']);
});

test('LLMNR answers the group only: address, empty for the other family, pointer', () => {
  const { ask } = namingStage();
  const said = ask('224.0.0.252', 5355, query([desktopName.toLowerCase()], dnsTypes.a));
  assert.equal(said?.bytes.subarray(-4).join('.'), desktop);
  assert.deepEqual([said?.bytes.readUInt16BE(0), said?.bytes.readUInt16BE(2), said?.hopLimit], [0x0102, 0x8000, 1]);
  assert.equal(ask('224.0.0.252', 5355, query([desktopName], dnsTypes.aaaa))?.bytes.readUInt16BE(6), 0);
  const pointer = ask('224.0.0.252', 5355, query(reverse(desktop), dnsTypes.ptr));
  assert.ok(pointer?.bytes.includes(renderName([desktopName])));
  assert.equal(ask(desktop, 5355, query([desktopName], dnsTypes.a)), undefined, 'RFC 4795 2.4: not when asked alone');
  assert.equal(ask('224.0.0.252', 5355, query(['wpad'], dnsTypes.a)), undefined);
  const conflict = query([desktopName], dnsTypes.a);
  conflict[2] |= 0x04;
  assert.equal(ask('224.0.0.252', 5355, conflict), undefined);
  const six = 'fd01::15';
  const answer = ask('ff02::1:3', 5355, query([nameOf('desktop', six)], dnsTypes.aaaa), { ip: 'fe80::5' });
  assert.equal(answer?.bytes.subarray(-16).toString('hex'), 'fd010000000000000000000000000015');
});

test('mDNS answers the group with hop limit 255, an unknowing client alone, and nobody twice within a second', () => {
  const { ask, pass, catchAll } = namingStage();
  const name = nameOf('printer', '10.1.0.100');
  const group = ask('224.0.0.251', 5353, query([name, 'local'], dnsTypes.a), { port: 5353 });
  assert.deepEqual([group?.toGroup, group?.hopLimit], [true, 255]);
  // Identifier 0, no question, authoritative, cache flush, two minutes.
  assert.equal(group?.bytes.subarray(0, 12).toString('hex'), '000084000000000100000000');
  assert.equal(group?.bytes.subarray(-14).toString('hex'), '00018001000000780004' + '0a010064');
  assert.equal(ask('224.0.0.251', 5353, query([name, 'local'], dnsTypes.a), { port: 5353, ip: '10.1.0.6' }), undefined);
  assert.equal(catchAll.counters().udpWithheld, 1);
  pass(1100);
  assert.ok(ask('224.0.0.251', 5353, query([name, 'local'], dnsTypes.a), { port: 5353 }));
  const alone = ask('224.0.0.251', 5353, query([name, 'local'], dnsTypes.a, 0x8001), { port: 5353 });
  assert.equal(alone?.toGroup, false);
  const legacy = ask('224.0.0.251', 5353, query([name, 'local'], dnsTypes.a, 1, 77), { port: 40_000 });
  assert.deepEqual([legacy?.toGroup, legacy?.bytes.readUInt16BE(0), legacy?.bytes.readUInt16BE(4)], [false, 77, 1]);
  assert.equal(legacy?.bytes.subarray(-14).toString('hex'), '000100010000000a0004' + '0a010064');
  const pointer = ask('224.0.0.251', 5353, query(reverse('10.1.0.100'), dnsTypes.ptr));
  assert.ok(pointer?.bytes.includes(renderName([name, 'local'])));
  assert.equal(ask('224.0.0.251', 5353, query(['_http', '_tcp', 'local'], dnsTypes.ptr)), undefined);
});

test('a name server tells its link names and addresses; others are refused or sent to TCP, at their own length', () => {
  const { ask } = namingStage();
  const full = ask('10.1.0.101', 53, query(reverse(desktop), dnsTypes.ptr));
  assert.ok(full?.bytes.includes(renderName([desktopName, 'corp', 'local'])));
  assert.equal((full?.bytes[3] ?? 0) & 15, 0);
  assert.equal(
    ask('10.1.0.101', 53, query([desktopName, 'corp', 'local'], 1))
      ?.bytes.subarray(-4)
      .join('.'),
    desktop,
  );
  assert.equal((ask('10.1.0.101', 53, query(reverse('10.1.0.250'), dnsTypes.ptr))?.bytes[3] ?? 0) & 15, 3);
  assert.equal((ask('10.1.0.101', 53, query(['example', 'org'], 1))?.bytes[3] ?? 0) & 15, 5);
  const asked = query(reverse(desktop), dnsTypes.ptr);
  const truncated = ask('10.1.0.101', 53, asked, beyond);
  assert.equal(truncated?.how, 'plain');
  assert.equal(truncated?.bytes.length, asked.length);
  assert.equal((truncated?.bytes[2] ?? 0) & 0x82, 0x82, 'a response, truncated');
  const stranger = ask('10.1.0.101', 53, query(['example', 'org'], 1), beyond);
  assert.equal((stranger?.bytes[3] ?? 0) & 15, 5);
});

test('over TCP everybody gets the name, and sixty-four answers at most', () => {
  const { names } = namingStage();
  const talk = new Rehearsal(dns, 53, false, names);
  const asked = query(reverse(desktop), dnsTypes.ptr);
  const framed = Buffer.concat([Buffer.from([0, asked.length]), asked]);
  assert.ok(talk.say(framed).includes(renderName([desktopName, 'corp', 'local']).toString('latin1')));
  for (let count = 1; count < 80; count += 1) talk.say(framed);
  assert.equal(talk.ended, true);
  assert.equal(talk.sent.length % 64, 0);
});

test('one source, and all sources together, draw a bounded number of answers', () => {
  const { ask, pass, catchAll } = namingStage();
  const count = (ip: () => string, times: number): number => {
    let answered = 0;
    for (let index = 0; index < times; index += 1) if (ask(desktop, 137, status, { ip: ip() })) answered += 1;
    return answered;
  };
  assert.equal(
    count(() => '10.1.0.5', 100),
    20,
  );
  pass(60_000);
  let next = 0;
  const all = count(() => {
    next += 1;
    return `10.1.0.${next % 250}`;
  }, 2000);
  assert.ok(all <= 400 && all > 300, `${all}`);
  assert.equal(catchAll.counters().udpOnLink, all + 20);
});

test('hostile bytes never throw, never draw more than they are long from beyond, nor more than 512 on the link', () => {
  const samples = [
    [137, status],
    [137, nameQuery(netbiosName(desktopName), 0x20)],
    [5355, query([desktopName], 1)],
    [5353, query([desktopName, 'local'], 255)],
    [53, query(reverse(desktop), dnsTypes.ptr)],
  ] as const;
  fc.assert(
    fc.property(
      fc.constantFrom(...samples),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 6 }),
      fc.nat(80),
      fc.boolean(),
      fc.constantFrom(desktop, '10.1.0.101', '224.0.0.251', '224.0.0.252', '10.1.0.255'),
      fc.boolean(),
      ([port, sample], changes, tail, cut, to, near) => {
        let payload = Buffer.concat([sample, Buffer.alloc(tail, 0x61)]);
        for (const [at, value] of changes) payload[at % payload.length] = value;
        if (cut) payload = payload.subarray(0, payload.length - tail - 1);
        const { ask, catchAll } = namingStage();
        const said = ask(to, port, payload, near ? {} : beyond);
        assert.equal(catchAll.counters().defects, 0);
        if (said?.how === 'plain') assert.ok(said.bytes.length <= payload.length);
        if (said?.how === 'on-link') assert.ok(near && said.bytes.length <= 512);
      },
    ),
    { numRuns: 2000 },
  );
});
