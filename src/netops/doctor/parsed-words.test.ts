// Texts of other programs that the doctor reads: IPsec policies, queue parameters, nft's trace; and the frames it makes and looks for.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { denialsSince, parseDenial, readLogClock } from '../../kernel/denial-log.ts';
import { renderEthernet, renderTcpPacket, renderUdpPacket } from '../../kernel/frame-injection.ts';
import { layOut } from '../../kernel/packet-header.ts';
import { parseNftTrace } from '../../kernel/trace/nft-trace.ts';
import { type Address, parseAddress, renderAddress } from '../../model/address.ts';
import { foldChecksum, sumWords } from '../../model/checksum.ts';
import type { MachineNamespace } from '../../model/machine.ts';
import type { FilterPacket } from '../../model/packet-filter.ts';
import { parseBanEnd } from './ban-end.ts';
import { quoted } from './fix-rule.ts';
import { answerIn } from './inject-run.ts';
import { parseTcSize, qdiscHop } from './qdisc-hop.ts';
import { parsePolicy, xfrmHop } from './xfrm-hop.ts';

const at = (text: string): Address => parseAddress(text) as Address;
const syn = (from: string, to: string): FilterPacket => ({
  family: at(from).family,
  protocol: 'tcp',
  source: at(from),
  sourcePort: 50_000,
  destination: at(to),
  destinationPort: 443,
  mark: 0,
  state: 'new',
  tcpFlags: 'syn',
});

test('IPsec policies: who is selected, what is blocked, and the one with the smallest priority first', () => {
  const block = 'src 10.0.0.0/24 dst 10.0.1.9/32 proto tcp dport 443 \n\tdir in action block priority 7 ptype main ';
  const policy = parsePolicy(block);
  assert.equal(policy && renderAddress(policy.source.address), '10.0.0.0');
  assert.deepEqual(
    [policy?.direction, policy?.block, policy?.priority, policy?.port, policy?.template],
    ['in', true, 7, 443, false],
  );
  assert.equal(parsePolicy('socket in priority 0'), undefined);
  const hops = (policies: string[] | undefined, from = '10.0.0.5') =>
    xfrmHop({ xfrmPolicies: policies } as unknown as MachineNamespace, 'in', syn(from, '10.0.1.9'), 'there').map(
      ({ state, fault }) => fault?.id ?? state,
    );
  assert.deepEqual(hops([block]), ['ipsec-policy']);
  assert.deepEqual(hops(undefined), ['not-measured'], 'what was not read is no pass');
  assert.deepEqual(hops([block], '10.0.2.5'), []);
  assert.deepEqual(hops([block.replace('443', '444')]), []);
  assert.deepEqual(hops([block, 'src 0.0.0.0/0 dst 0.0.0.0/0 \n\tdir in priority 1 ptype main']), ['pass']);
  assert.deepEqual(hops(['src 0.0.0.0/0 dst 0.0.0.0/0 \n\tdir in priority 1 \n\ttmpl src 0.0.0.0 dst 0.0.0.0']), ['unknown']);
});

test('queues that drop everything, some, or nothing', () => {
  assert.deepEqual(['10b', '1600b', '16Kb', '2Mb', 'x'].map(parseTcSize), [10, 1600, 16_384, 2 << 20, undefined]);
  const judged = (kind: string, text: string, drops = 0) => {
    const hop = qdiscHop(
      { qdiscs: [{ device: 'eth0', kind, drops, overlimits: 0, text }] } as unknown as MachineNamespace,
      'eth0',
      'back',
    );
    return hop && `${hop.state} ${hop.fault?.certain ?? ''}`;
  };
  assert.equal(judged('tbf', 'qdisc tbf 1: dev eth0 root rate 8bit burst 10b lat 1ms'), 'fail true');
  assert.equal(judged('tbf', 'qdisc tbf 1: dev eth0 root rate 1Mbit burst 16Kb lat 50ms'), 'pass ');
  assert.equal(judged('tbf', 'qdisc tbf 1: dev eth0 root rate 1Mbit burst 16Kb lat 50ms', 3), 'unknown false');
  assert.equal(judged('netem', 'qdisc netem 1: dev eth0 root limit 1000 loss 100%'), 'fail true');
  assert.equal(judged('netem', 'qdisc netem 1: dev eth0 root limit 1000 loss 5%'), 'unknown false');
  assert.equal(judged('fq_codel', 'qdisc fq_codel 0: root', 9), undefined);
});

test('lines of nft monitor trace', () => {
  assert.deepEqual(
    parseNftTrace('trace id 9db7 inet lab input rule ip saddr 10.0.0.1 tcp dport 8080 counter drop (verdict drop)'),
    {
      id: '9db7',
      family: 'inet',
      table: 'lab',
      chain: 'input',
      kind: 'rule',
      verdict: 'drop',
      text: 'ip saddr 10.0.0.1 tcp dport 8080 counter drop (verdict drop)',
    },
  );
  assert.equal(parseNftTrace('trace id 9db7 ip filter FORWARD policy drop ')?.verdict, 'drop');
  assert.equal(parseNftTrace('trace id 9db7 ip filter FORWARD rule jump X (verdict jump X)')?.verdict, 'jump X');
  assert.equal(parseNftTrace('trace id 9db7 inet lab input packet: iif "s0" ip saddr 1.2.3.4'), undefined);
});

test('a SYN of ours has right checksums in both families; an answer to another is not taken for one to it', () => {
  for (const [from, to] of [
    ['10.0.0.1', '10.0.0.2'],
    ['fd00::1', 'fd00::2'],
  ]) {
    const packet = renderTcpPacket(syn(from, to), { sequence: 7 });
    const layout = layOut(packet);
    assert.ok(layout && layout.protocol === 6);
    const four = layout.version === 4;
    if (four) assert.equal(foldChecksum(sumWords(packet, 0, 20)), 0);
    const pseudo = sumWords(packet, four ? 12 : 8, four ? 20 : 40, 6 + packet.length - layout.transportAt);
    assert.equal(foldChecksum(sumWords(packet, layout.transportAt, packet.length, pseudo)), 0);
    const answer = (flags: number, acknowledged: number, port = 50_000): Uint8Array => {
      const bytes = renderTcpPacket({ ...syn(to, from), destinationPort: port }, { flags });
      new DataView(bytes.buffer).setUint32(layout.transportAt + 8, acknowledged);
      return renderEthernet('02:00:00:00:00:01', '02:00:00:00:00:02', bytes);
    };
    assert.equal(answerIn(answer(0x12, 8), 50_000, 7), 'connected');
    assert.equal(answerIn(answer(0x14, 8), 50_000, 7), 'refused');
    assert.equal(answerIn(answer(0x12, 9), 50_000, 7), undefined);
    assert.equal(answerIn(answer(0x12, 8, 50_001), 50_000, 7), undefined);
    assert.equal(answerIn(answer(0x02, 8), 50_000, 7), undefined);
    assert.equal(answerIn(new Uint8Array(20), 50_000, 7), undefined);
  }
});

test('names of chains and devices reach a shell as words', () => {
  assert.equal(quoted('INPUT'), 'INPUT');
  assert.equal(quoted("a'; rm -rf /"), "'a'\\''; rm -rf /'");
  assert.equal(quoted('$(x)'), "'$(x)'");
});

test('when fail2ban says a ban ends', () => {
  const text =
    '10.0.0.70 \t2026-01-31 12:00:00 + 600 = 2026-01-31 12:10:00\n10.0.0.7 \t2026-01-31 13:00:00 + 60 = 2026-01-31 13:01:00\n';
  assert.equal(parseBanEnd(text, '10.0.0.7'), '2026-01-31 13:01:00');
  assert.equal(parseBanEnd(text, '10.0.0.8'), undefined);
  assert.equal(parseBanEnd('ERROR no such jail', '10.0.0.7'), undefined);
});

test('what AppArmor and SELinux denied, and only what is about sockets', () => {
  const armor =
    '5,1,2,-;audit: type=1400 audit(1.2:3): apparmor="DENIED" operation="bind" class="net" profile="nginx" pid=7 comm="nginx" family="inet"\n SUBSYSTEM=x';
  assert.deepEqual(
    [parseDenial(armor)?.by, parseDenial(armor)?.comm, parseDenial(armor)?.operation],
    ['AppArmor', 'nginx', 'bind'],
  );
  assert.equal(parseDenial(armor.replace('"bind"', '"open"')), undefined);
  const linux =
    '5,1,2,-;audit: type=1400 audit(1.2:3): avc:  denied  { name_bind } for  pid=9 comm="httpd" src=8080 scontext=a tcontext=b tclass=tcp_socket permissive=0';
  assert.deepEqual([parseDenial(linux)?.by, parseDenial(linux)?.port], ['SELinux', 8080]);
  assert.equal(parseDenial(linux.replace('tcp_socket', 'file')), undefined);
  assert.equal(parseDenial('6,1,2,-;eth0: link up'), undefined);
  const [old, late, undated] = [armor.replace('5,1,2,', '5,1,7000000,'), armor.replace('5,1,2,', '5,1,900000000,'), `x;${armor}`]
    .map(parseDenial)
    .map((denial) => denial ?? assert.fail());
  assert.deepEqual([old.at, late.at, undated.at], [7e6, 9e8, undefined]);
  assert.deepEqual(
    denialsSince([old, late, undated], 960e6, 60e6),
    [late],
    'of a start of the machine long ago, and of no time at all',
  );
});

test('the clock of the log stands still while the machine sleeps', () => {
  const [before, here, after] = [process.hrtime.bigint(), readLogClock(), process.hrtime.bigint()];
  assert.ok(Number(before / 1000n) <= here && here <= Number(after / 1000n), 'CLOCK_MONOTONIC, in microseconds');
});

test('a datagram as the kernel would take it: lengths, ports, and a checksum that adds up', () => {
  for (const [from, to, headerBytes] of [
    ['10.0.0.7', '10.0.0.9', 20],
    ['fd00::7', 'fd00::9', 40],
  ] as const) {
    const bytes = renderUdpPacket({ ...syn(from, to), protocol: 'udp', tcpFlags: undefined });
    const layout = layOut(renderEthernet('02:00:00:00:00:01', '02:00:00:00:00:02', bytes), 14);
    assert.deepEqual([layout?.protocol, layout?.transportAt], [17, 14 + headerBytes]);
    const view = new DataView(bytes.buffer);
    assert.deepEqual(
      [view.getUint16(headerBytes), view.getUint16(headerBytes + 2), view.getUint16(headerBytes + 4)],
      [50_000, 443, 10],
    );
    const [at, length] = headerBytes === 20 ? [12, 8] : [8, 32];
    assert.equal(foldChecksum(sumWords(bytes, headerBytes, bytes.length, sumWords(bytes, at, at + length, 17 + 10))), 0);
  }
});
