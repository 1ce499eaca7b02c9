// A far VTEP as an administrator would set one up: plain FRR with bridges and VXLAN devices in one namespace, hosts behind it.

import { chownSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import {
  type FrrDaemon,
  type FrrFiles,
  frrFiles,
  makeFrrDirectories,
  readFrrAccount,
  startFrrDaemon,
  stopFrrDaemon,
} from '../../src/kernel/frr-daemon.ts';
import { type TestNamespace, until } from './namespace.ts';

/** Value for node:test's `skip`, beside lacksKernelTests. */
export function lacksFrr(): string | false {
  const reason = existsSync('/usr/lib/frr/bgpd') ? false : 'needs the package frr';
  if (reason && process.env.WEIR_TESTS === 'required') throw new Error(`WEIR_TESTS=required, but this test ${reason}`);
  return reason;
}

export interface FarSpeaker {
  /** Of its peer, which is Weir. */
  readonly asn: number;
  readonly ownAsn: number;
  /** Where it expects Weir to speak from. */
  readonly neighbour: string;
}

/** `end` stops and removes what it made outside the namespace. */
export class FarVtep {
  readonly namespace: TestNamespace;
  /** Its own VTEP address and Weir's. */
  readonly local: string;
  readonly remote: string;
  readonly #files: FrrFiles;
  readonly #daemons: FrrDaemon[] = [];

  constructor(namespace: TestNamespace, local: string, remote: string) {
    this.namespace = namespace;
    this.local = local;
    this.remote = remote;
    this.#files = frrFiles(mkdtempSync('/run/weirt-frr-'));
  }

  get running(): boolean {
    return this.#daemons.length > 0;
  }

  /** Devices of a VNI, with a host on it: the link `eVNI` in its namespace. */
  async join(vni: number, hostAddress: string, host: TestNamespace): Promise<void> {
    await this.namespace.ip(
      [
        `link add b${vni} type bridge`,
        `link set b${vni} addrgenmode none`,
        `link add v${vni} type vxlan id ${vni} local ${this.local} dstport 4789 nolearning`,
        `link set v${vni} master b${vni} addrgenmode none`,
        `link set v${vni} type bridge_slave neigh_suppress on learning off`,
        `link add h${vni} type veth peer name e${vni} netns ${host.name}`,
        `link set h${vni} master b${vni}`,
        ...[`b${vni}`, `v${vni}`, `h${vni}`].map((link) => `link set ${link} up`),
        '',
      ].join('\n'),
    );
    await host.ip(`link set e${vni} up\naddr add ${hostAddress} dev e${vni}\n`);
  }

  async start({ asn, ownAsn, neighbour }: FarSpeaker): Promise<void> {
    makeFrrDirectories(this.#files);
    this.#write('zebra', '');
    this.#write(
      'bgpd',
      [
        `router bgp ${ownAsn}`,
        ` bgp router-id ${this.local}`,
        ' no bgp default ipv4-unicast',
        ' no bgp ebgp-requires-policy',
        ` neighbor ${neighbour} remote-as ${asn}`,
        ` neighbor ${neighbour} timers connect 1`,
        ' address-family l2vpn evpn',
        `  neighbor ${neighbour} activate`,
        '  advertise-all-vni',
        ' exit-address-family',
        '',
      ].join('\n'),
    );
    for (const program of ['zebra', 'bgpd'] as const) {
      const { zserv, sockets } = this.#files;
      this.#daemons.push(
        startFrrDaemon({
          program,
          netns: this.namespace.path,
          arguments: [
            ...['-f', this.#files.configuration(program), '-z', zserv, '--vty_socket', sockets],
            ...['-i', this.#files.pidFile(program), '-P', '0', ...(program === 'zebra' ? ['-s', '67108864'] : [])],
          ],
          onExit: () => {},
        }),
      );
      if (program === 'zebra') await until('the far zebra is ready', () => existsSync(zserv));
    }
  }

  async stop(): Promise<void> {
    for (const daemon of this.#daemons.splice(0).reverse()) await stopFrrDaemon(daemon);
  }

  /** What its kernel knows of hosts behind Weir's VTEP: MACs in its bridge, addresses beside it. */
  async knows(vni: number): Promise<{ macs: string[]; addresses: string[] }> {
    const fdb = await this.namespace.run(['bridge', 'fdb', 'show', 'br', `b${vni}`]);
    const neighbours = await this.namespace.run(['ip', 'neigh', 'show', 'dev', `b${vni}`, 'nud', 'all']);
    const firstWords = (text: string, mark: string): string[] =>
      text
        .split('\n')
        .filter((line) => line.includes(mark) && !line.startsWith('00:00:00:00:00:00'))
        .map((line) => line.split(' ')[0])
        .sort();
    return { macs: firstWords(fdb.stdout, `dst ${this.remote} `), addresses: firstWords(neighbours.stdout, 'extern_learn') };
  }

  async end(): Promise<void> {
    await this.stop();
    rmSync(this.#files.directory, { recursive: true, force: true });
  }

  #write(program: 'zebra' | 'bgpd', text: string): void {
    const file = this.#files.configuration(program);
    writeFileSync(file, text, { mode: 0o640 });
    chownSync(file, 0, readFrrAccount().gid);
  }
}
