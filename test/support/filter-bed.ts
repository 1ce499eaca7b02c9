// A router between a client and a server, all in namespaces, that writes down which hooks every packet got through, with what
// address, port and mark: what the kernel does with a ruleset, to compare a walk of the same ruleset with.

import assert from 'node:assert/strict';
import { closeDescriptor, sendTo } from '../../src/kernel/libc.ts';
import { openPacketSocket } from '../../src/kernel/packet-socket.ts';
import { parseAddress } from '../../src/model/address.ts';
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
const addressBytes = (text: string): number[] => text.split('.').map(Number);

export function probeFrame(probe: Probe, to: string, from: string): Uint8Array {
  const length = probe.protocol === 'tcp' ? 20 : 8;
  const frame = new Uint8Array(14 + 20 + length);
  const view = new DataView(frame.buffer);
  frame.set([...macBytes(to), ...macBytes(from), 0x08, 0x00], 0);
  frame.set([0x45, 0], 14);
  view.setUint16(16, 20 + length);
  view.setUint16(18, probe.id);
  frame[22] = 64;
  frame[23] = { tcp: 6, udp: 17, icmp: 1 }[probe.protocol];
  frame.set([...addressBytes(probe.source), ...addressBytes(probe.destination)], 26);
  view.setUint16(24, foldChecksum(sumWords(frame, 14, 34)));
  if (probe.protocol === 'icmp') {
    frame[34] = 8;
    view.setUint16(38, probe.sourcePort);
    view.setUint16(40, probe.id);
    view.setUint16(36, foldChecksum(sumWords(frame, 34, frame.length)));
    return frame;
  }
  view.setUint16(34, probe.sourcePort);
  view.setUint16(36, probe.destinationPort);
  if (probe.protocol === 'tcp') {
    view.setUint32(38, 1000 + probe.id);
    frame[46] = 0x50;
    frame[47] = probe.tcpFlags === 'syn' ? 2 : 16;
    view.setUint16(48, 64240);
    view.setUint16(50, transportChecksum(frame, 26, 8, 6, 34, frame.length));
  } else {
    view.setUint16(38, 8);
    view.setUint16(40, transportChecksum(frame, 26, 8, 17, 34, frame.length) || 0xffff);
  }
  return frame;
}

export function packetOf(probe: Probe, inputDevice: string): FilterPacket {
  const [source, destination] = [parseAddress(probe.source), parseAddress(probe.destination)];
  assert.ok(source && destination);
  return {
    family: 4,
    protocol: probe.protocol,
    source,
    sourcePort: probe.sourcePort,
    destination,
    destinationPort: probe.destinationPort,
    inputDevice,
    mark: 0,
    state: probe.protocol === 'tcp' && probe.tcpFlags === 'ack' ? 'invalid' : 'new',
    ...(probe.protocol === 'tcp' ? { tcpFlags: probe.tcpFlags } : {}),
    ...(probe.protocol === 'icmp' ? { icmp: { type: 8, code: 0 } } : {}),
  };
}

/** First and last in each hook; what reaches this machine ends there, so that nobody answers. */
function observer(): string {
  const set = (name: string): string =>
    `  set ${name} { typeof ip id . ip daddr . th dport . meta mark; flags dynamic; size 4096; }\n`;
  const note = (name: string): string =>
    `ip protocol { tcp, udp, icmp } add @${name} { ip id . ip daddr . th dport . meta mark }`;
  const chain = (name: string, hook: string, priority: number, end = ''): string =>
    `  chain ${name} {\n    type filter hook ${hook} priority ${priority}; policy accept;\n    ${note(name)}\n${end}  }\n`;
  return [
    'table ip observer {\n',
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

  private constructor(router: TestNamespace, near: number, far: number) {
    this.router = router;
    this.#near = near;
    this.#far = far;
  }

  static async open(lab: NamespaceLab): Promise<FilterBed> {
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
      ['net/ipv4/conf/all/rp_filter', '0'],
      ['net/ipv4/conf/gc/rp_filter', '0'],
      ['net/ipv4/conf/gs/rp_filter', '0'],
    ])
      await router.setSysctl(key, value);
    const neighbours = ['10.71.0.2', '10.71.0.3'].map((ip) => `neigh replace ${ip} lladdr ${macs.server} dev gs nud permanent`);
    const near = ['10.70.0.1', '10.70.0.2', '10.70.0.3', '10.70.0.77'].map(
      (ip) => `neigh replace ${ip} lladdr ${macs.client} dev gc nud permanent`,
    );
    await router.ip(`${[...neighbours, ...near].join('\n')}\n`);
    for (const silent of [client, server])
      await silent.nft(
        'table netdev silent {\n chain in {\n  type filter hook ingress device "XX" priority 0; policy drop;\n }\n}\n'.replace(
          'XX',
          silent === client ? 'cl' : 'sv',
        ),
      );
    await router.run(['ipset', 'restore'], {
      input: [
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
    });
    const options = { filter: [[6, 0, 0, 0]] as const, bufferBytes: 65536, receives: {} };
    const nearSocket = openPacketSocket({ ...options, interface: 'cl', netns: client.path });
    const farSocket = openPacketSocket({ ...options, interface: 'sv', netns: server.path });
    return new FilterBed(router, nearSocket.fd, farSocket.fd);
  }

  close(): void {
    closeDescriptor(this.#near);
    closeDescriptor(this.#far);
  }

  /** Replaces everything of the one before; connections known are forgotten. */
  async load({ nft, iptablesNft, legacy }: Ruleset): Promise<void> {
    const { router } = this;
    const empty = `${emptyIptables.map((table) => `*${table}\nCOMMIT\n`).join('')}`;
    await router.run(['iptables-legacy-restore'], { input: legacy === '' ? empty : empty + legacy });
    await router.nft(`flush ruleset\n${nft}`);
    if (iptablesNft !== '') await router.run(['iptables-nft-restore'], { input: iptablesNft });
    await router.nft(observer());
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
    const { stdout } = await this.router.run(['nft', '-n', '-j', 'list', 'table', 'ip', 'observer']);
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
