// A router between a client and a server, all in namespaces, that writes down which hooks every packet got through, with what
// address, port and mark: what the kernel does with a ruleset, to compare a walk of the same ruleset with.

import assert from 'node:assert/strict';
import { closeDescriptor, sendTo } from '../../src/kernel/libc.ts';
import { openPacketSocket } from '../../src/kernel/packet-socket.ts';
import { addressBytes, type Family, parseAddress } from '../../src/model/address.ts';
import { foldChecksum, sumWords, transportChecksum } from '../../src/model/checksum.ts';
import type { FilterPacket } from '../../src/model/packet-filter.ts';
import type { Ruleset } from './filter-rulesets.ts';
import { type NamespaceLab, type TestNamespace, until } from './namespace.ts';

export interface Probe {
  /** IPv4's identification: tells packets apart. */
  readonly id: number;
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  readonly tcpFlags: 'syn' | 'ack';
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

/** As a packet stood at the end of a hook. */
export interface Sighting {
  readonly destination: string;
  readonly destinationPort: number;
  readonly mark: number;
}

export type ObservedHook = 'arrived' | 'prerouting' | 'input' | 'forward' | 'postrouting';
export type Observed = ReadonlyMap<ObservedHook, ReadonlyMap<number, Sighting>>;

const observedHooks: readonly ObservedHook[] = ['arrived', 'prerouting', 'input', 'forward', 'postrouting'];

const macs = {
  client: '02:00:00:00:70:01',
  router: '02:00:00:00:70:fe',
  routerFar: '02:00:00:00:71:fe',
  server: '02:00:00:00:71:02',
};

const macBytes = (text: string): number[] => text.split(':').map((part) => Number.parseInt(part, 16));
function bytesOf(text: string): Uint8Array {
  const parsed = parseAddress(text);
  assert.ok(parsed);
  return addressBytes(parsed);
}

const protocols = { tcp: 6, udp: 17, icmp: 1 } as const;

export function probeFrame(probe: Probe, to: string, from: string): Uint8Array {
  const six = probe.source.includes(':');
  const length = probe.protocol === 'tcp' ? 20 : 8;
  const at = 14 + (six ? 40 : 20);
  const addressesAt = six ? 22 : 26;
  const frame = new Uint8Array(at + length);
  const view = new DataView(frame.buffer);
  frame.set([...macBytes(to), ...macBytes(from), ...(six ? [0x86, 0xdd] : [0x08, 0x00])], 0);
  const protocol = six && probe.protocol === 'icmp' ? 58 : protocols[probe.protocol];
  if (six) {
    // The flow label tells packets apart.
    view.setUint32(14, (0x60000000 | probe.id) >>> 0);
    view.setUint16(18, length);
    frame.set([protocol, 64], 20);
  } else {
    frame.set([0x45, 0], 14);
    view.setUint16(16, 20 + length);
    view.setUint16(18, probe.id);
    frame.set([64, protocol], 22);
  }
  frame.set([...bytesOf(probe.source), ...bytesOf(probe.destination)], addressesAt);
  if (!six) view.setUint16(24, foldChecksum(sumWords(frame, 14, 34)));
  const checksum = (): number => transportChecksum(frame, addressesAt, six ? 32 : 8, protocol, at, frame.length);
  if (probe.protocol === 'icmp') {
    frame[at] = six ? 128 : 8;
    view.setUint16(at + 4, probe.sourcePort);
    view.setUint16(at + 6, probe.id);
    view.setUint16(at + 2, six ? checksum() : foldChecksum(sumWords(frame, at, frame.length)));
    return frame;
  }
  view.setUint16(at, probe.sourcePort);
  view.setUint16(at + 2, probe.destinationPort);
  if (probe.protocol === 'tcp') {
    view.setUint32(at + 4, 1000 + probe.id);
    frame[at + 12] = 0x50;
    frame[at + 13] = probe.tcpFlags === 'syn' ? 2 : 16;
    view.setUint16(at + 14, 64240);
    view.setUint16(at + 16, checksum());
  } else {
    view.setUint16(at + 4, 8);
    view.setUint16(at + 6, checksum() || 0xffff);
  }
  return frame;
}

export function packetOf(probe: Probe, inputDevice: string): FilterPacket {
  const [source, destination] = [parseAddress(probe.source), parseAddress(probe.destination)];
  assert.ok(source && destination);
  return {
    family: source.family,
    protocol: probe.protocol,
    source,
    sourcePort: probe.sourcePort,
    destination,
    destinationPort: probe.destinationPort,
    inputDevice,
    mark: 0,
    state: probe.protocol === 'tcp' && probe.tcpFlags === 'ack' ? 'invalid' : 'new',
    ...(probe.protocol === 'tcp' ? { tcpFlags: probe.tcpFlags } : {}),
    ...(probe.protocol === 'icmp' ? { icmp: { type: source.family === 4 ? 8 : 128, code: 0 } } : {}),
  };
}

/** The same in IPv6: rulesets, addresses of probes, commands. 10.70.0.1 is fd70::1, a /24 a /64. */
export function inSix(text: string): string {
  const words: readonly (readonly [RegExp, string])[] = [
    [/10\.(\d\d)\.0\.(\d+)\/255\.255\.0\.255/g, 'fd$1::$2/ffff:ffff::ffff'],
    [/255\.255\.0\.255/g, 'ffff:ffff::ffff'],
    [/10\.(\d\d)\.0\.0\/24/g, 'fd$1::/64'],
    [/10\.(\d\d)\.0\.(\d+)\/24/g, 'fd$1::$2/64'],
    [/10\.70\.0\.0\/30/g, 'fd70::/126'],
    [/10\.0\.0\.0\/8/g, 'fd00::/8'],
    [/10\.71\.0\.2\/31/g, 'fd71::2/127'],
    [/10\.71\.0\.3\/32/g, 'fd71::3/128'],
    [/10\.(\d\d)\.0\.(\d+):(\d+)/g, '[fd$1::$2]:$3'],
    [/10\.(\d\d)\.0\.(\d+)/g, 'fd$1::$2'],
    [/nfproto ipv6/g, 'nfproto four'],
    [/nfproto ipv4/g, 'nfproto ipv6'],
    [/nfproto four/g, 'nfproto ipv4'],
    [/ip protocol icmp/g, 'meta l4proto ipv6-icmp'],
    [/\{ tcp, icmp \}/g, '{ tcp, ipv6-icmp }'],
    [/\bicmp (type|code)/g, 'icmpv6 $1'],
    [/-p icmp -m icmp --icmp-type 8/g, '-p icmpv6 -m icmp6 --icmpv6-type 128'],
    [/-p icmp\b/g, '-p icmpv6'],
    [/\bip (saddr|daddr)/g, 'ip6 $1'],
    [/dnat ip to/g, 'dnat ip6 to'],
    [/protocol ip\b/g, 'protocol ip6'],
    [/ip version 4/g, 'ip6 version 6'],
    [/ipv4_addr/g, 'ipv6_addr'],
    [/table ip two/g, 'table ip6 two'],
  ];
  return words.reduce((so, [pattern, word]) => so.replaceAll(pattern, word), text);
}

/** First and last in each hook; what reaches this machine ends there, so that nobody answers. */
function observer(family: Family): string {
  const [ip, id, protocol] = family === 4 ? ['ip', 'ip id', 'ip protocol'] : ['ip6', 'ip6 flowlabel', 'ip6 nexthdr'];
  const key = `${id} . ${ip} daddr . th dport . meta mark`;
  const set = (name: string): string => `  set ${name} { typeof ${key}; flags dynamic; size 4096; }\n`;
  const note = (name: string): string => `${protocol} { 6, 17, ${family === 4 ? 1 : 58} } add @${name} { ${key} }`;
  const chain = (name: string, hook: string, priority: number, end = ''): string =>
    `  chain ${name} {\n    type filter hook ${hook} priority ${priority}; policy accept;\n    ${note(name)}\n${end}  }\n`;
  return [
    `table ${ip} observer {\n`,
    ...observedHooks.map(set),
    chain('arrived', 'prerouting', -2_000_000_000),
    chain('prerouting', 'prerouting', 2_000_000_000),
    chain('input', 'input', 2_000_000_000, '    drop\n'),
    chain('forward', 'forward', 2_000_000_000),
    chain('postrouting', 'postrouting', 2_000_000_000),
    '}\n',
  ].join('');
}

const emptyIptables = ['raw', 'mangle', 'nat', 'filter'];

export class FilterBed {
  readonly router: TestNamespace;
  readonly #near: number;
  readonly #far: number;

  readonly #family: Family;

  private constructor(router: TestNamespace, family: Family, near: number, far: number) {
    this.router = router;
    this.#family = family;
    this.#near = near;
    this.#far = far;
  }

  /** With family 6 everything is as `inSix` writes it. */
  static async open(lab: NamespaceLab, family: Family = 4): Promise<FilterBed> {
    const write = (text: string): string => (family === 4 ? text : inSix(text));
    const [client, router, server] = [await lab.namespace('fc'), await lab.namespace('fr'), await lab.namespace('fs')];
    await lab.join(
      { namespace: client, link: 'cl', addresses: ['10.70.0.1/24'], mac: macs.client },
      { namespace: router, link: 'gc', addresses: ['10.70.0.254/24', '10.70.0.253/24'], mac: macs.router },
    );
    await lab.join(
      { namespace: router, link: 'gs', addresses: ['10.71.0.254/24'], mac: macs.routerFar },
      { namespace: server, link: 'sv', addresses: ['10.71.0.2/24'], mac: macs.server },
    );
    for (const [key, value] of [
      ['net/ipv4/ip_forward', '1'],
      ['net/ipv6/conf/all/forwarding', '1'],
      ['net/ipv4/conf/all/rp_filter', '0'],
      ['net/ipv4/conf/gc/rp_filter', '0'],
      ['net/ipv4/conf/gs/rp_filter', '0'],
    ])
      await router.setSysctl(key, value);
    const neighbours = ['10.71.0.2', '10.71.0.3'].map((ip) => `neigh replace ${ip} lladdr ${macs.server} dev gs nud permanent`);
    const near = ['10.70.0.1', '10.70.0.2', '10.70.0.3', '10.70.0.77'].map(
      (ip) => `neigh replace ${ip} lladdr ${macs.client} dev gc nud permanent`,
    );
    if (family === 6) {
      const own = ['10.70.0.254/24 dev gc', '10.70.0.253/24 dev gc', '10.71.0.254/24 dev gs'].map(
        (one) => `addr add ${inSix(one)} nodad`,
      );
      await router.ip(`${own.join('\n')}\n`);
    }
    await router.ip(`${write([...neighbours, ...near].join('\n'))}\n`);
    for (const silent of [client, server])
      await silent.nft(
        'table netdev silent {\n chain in {\n  type filter hook ingress device "XX" priority 0; policy drop;\n }\n}\n'.replace(
          'XX',
          silent === client ? 'cl' : 'sv',
        ),
      );
    await router.run(['ipset', 'restore'], {
      input: write(
        [
          'create hosts hash:ip',
          'add hosts 10.70.0.2',
          'add hosts 10.70.0.77',
          'create nets hash:net',
          'add nets 10.71.0.0/24',
          'add nets 10.71.0.3/32 nomatch',
          'create pairs hash:ip,port',
          'add pairs 10.70.0.1,tcp:22',
          'add pairs 10.70.0.2,udp:80',
          'create both list:set',
          'add both hosts',
          'add both nets',
          '',
        ].join('\n'),
      ).replaceAll(/hash:\S+/g, (type) => (family === 4 ? type : `${type} family inet6`)),
    });
    const options = { filter: [[6, 0, 0, 0]] as const, bufferBytes: 65536, receives: {} };
    const nearSocket = openPacketSocket({ ...options, interface: 'cl', netns: client.path });
    const farSocket = openPacketSocket({ ...options, interface: 'sv', netns: server.path });
    return new FilterBed(router, family, nearSocket.fd, farSocket.fd);
  }

  close(): void {
    closeDescriptor(this.#near);
    closeDescriptor(this.#far);
  }

  /** Replaces everything of the one before; connections known are forgotten. */
  async load({ nft, iptablesNft, legacy }: Ruleset): Promise<void> {
    const { router } = this;
    const empty = `${emptyIptables.map((table) => `*${table}\nCOMMIT\n`).join('')}`;
    const [write, program] = this.#family === 4 ? [(text: string) => text, 'iptables'] : [inSix, 'ip6tables'];
    await router.run([`${program}-legacy-restore`], { input: legacy === '' ? empty : empty + write(legacy) });
    await router.nft(`flush ruleset\n${write(nft)}`);
    if (iptablesNft !== '') await router.run([`${program}-nft-restore`], { input: write(iptablesNft) });
    await router.nft(observer(this.#family));
    await router.run(['conntrack', '-F'], { anyCode: true });
    await router.setSysctl('net/netfilter/nf_conntrack_tcp_loose', '0');
  }

  /** From the client's side, or with `far` from the server's. Resolves when all were seen to arrive. */
  async send(probes: readonly Probe[], far = false): Promise<Observed> {
    for (const probe of probes) {
      const frame = far ? probeFrame(probe, macs.routerFar, macs.server) : probeFrame(probe, macs.router, macs.client);
      assert.equal(sendTo(far ? this.#far : this.#near, frame, null), frame.length);
    }
    return until('every packet arrived', async () => {
      const observed = await this.#observed();
      return probes.every(({ id }) => observed.get('arrived')?.has(id)) ? observed : undefined;
    });
  }

  async #observed(): Promise<Observed> {
    const { stdout } = await this.router.run(['nft', '-n', '-j', 'list', 'table', this.#family === 4 ? 'ip' : 'ip6', 'observer']);
    const found = new Map<ObservedHook, Map<number, Sighting>>(observedHooks.map((hook) => [hook, new Map()]));
    for (const { set } of JSON.parse(stdout).nftables as { set?: { name: ObservedHook; elem?: unknown[] } }[])
      for (const element of set?.elem ?? []) {
        const { val } = (element as { elem?: { val: unknown } }).elem ?? { val: element };
        const [id, destination, destinationPort, mark] = (val as { concat: [number, string, number, number] }).concat;
        found.get(set?.name as ObservedHook)?.set(id, { destination, destinationPort, mark });
      }
    return found;
  }
}
