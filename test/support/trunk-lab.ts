// A stage for VLANs, where the kernel has them: a sensor whose `trunk0` ends on a port of a VLAN-aware switch, scanners on
// access ports, and an operator who reaches the sensor's own addresses on that same trunk. The sensor is WeirLab's.

import { readConfiguration } from '../../src/config/configuration.ts';
import { readPersonas } from '../../src/config/personas.ts';
import { type Address, parseAddress, renderAddress } from '../../src/model/address.ts';
import { DecoyDirectory } from '../../src/model/decoy.ts';
import { type WeirLab, withWeirLab } from '../../src/programs/weir-lab.ts';
import { projectRoot } from './diversion-bed.ts';
import { runCommand, type TestNamespace, until } from './namespace.ts';

/** The sensor's own addresses on its trunk: without a tag and in a VLAN of its own. */
export const ownAddresses = { untagged: '10.9.0.2', tagged: '10.8.0.2', vlan: 1000 } as const;

export interface SeenHost {
  readonly ip: string;
  readonly mac: string;
  /** nmap's name for the MAC's prefix. */
  readonly vendor: string;
}

/** Asks one address again and again from outside; `lost` ends it and says how many answers were missing. */
export interface Watcher {
  lost(): Promise<{ sent: number; lost: number }>;
}

export class TrunkLab {
  readonly weir: WeirLab;
  readonly switch: TestNamespace;
  readonly operator: TestNamespace;
  #ports = 0;

  constructor(weir: WeirLab, wire: TestNamespace, operator: TestNamespace) {
    this.weir = weir;
    this.switch = wire;
    this.operator = operator;
  }

  /** A namespace on an access port of `vlan`. */
  async scanner(vlan: number, addresses: readonly string[]): Promise<TestNamespace> {
    const namespace = await this.weir.namespaces.namespace(`c${vlan}`);
    await this.access(namespace, 'eth0', vlan, addresses);
    return namespace;
  }

  async access(namespace: TestNamespace, link: string, vlan: number, addresses: readonly string[]): Promise<void> {
    const port = await this.plug(namespace, link, addresses);
    await this.vlans([`vlan add vid ${vlan} dev ${port} pvid untagged`]);
  }

  /** Puts a new link of a namespace on a port of the switch, in no VLAN yet; the port's name. */
  async plug(namespace: TestNamespace, link: string, addresses: readonly string[]): Promise<string> {
    this.#ports += 1;
    const port = `p${this.#ports}`;
    await this.weir.namespaces.join({ namespace, link, addresses }, { namespace: this.switch, link: port });
    await this.switch.ip(`link set ${port} master br0\n`);
    return port;
  }

  /** Several `bridge` commands of the switch. */
  async vlans(lines: readonly string[]): Promise<void> {
    await this.switch.run(['bridge', '-batch', '-'], { input: lines.map((line) => `${line}\n`).join('') });
  }

  /** Every 100 ms from the operator, until it is asked. */
  watch(address: string): Watcher {
    const child = this.operator.spawn(['ping', '-q', '-n', '-i', '0.1', address]);
    let text = '';
    child.stdout?.setEncoding('utf8').on('data', (more: string) => {
      text += more;
    });
    return {
      lost: async () => {
        child.kill('SIGINT');
        const found = await until('ping sums up', () => /(\d+) packets transmitted, (\d+) received/.exec(text) ?? undefined);
        return { sent: Number(found[1]), lost: Number(found[1]) - Number(found[2]) };
      },
    };
  }

  async answersOperator(address: string): Promise<boolean> {
    return (await this.operator.run(['ping', '-q', '-c', '1', '-W', '2', address], { anyCode: true })).code === 0;
  }

  /** Who lives where by the configuration as it is now, one directory per diversion. */
  residents(): ReadonlyMap<string, DecoyDirectory> {
    const configuration = readConfiguration(this.weir.file, { personas: readPersonas(`${projectRoot}/rules`) });
    return new Map(
      configuration.diversions.map(({ name, groups }) => [name, new DecoyDirectory([...groups], configuration.personas)]),
    );
  }

  /** Names of the namespaces and links that Weir made and that are still there. */
  async leftovers(): Promise<string[]> {
    const { stdout: names } = await runCommand(['ip', 'netns', 'list']);
    const { stdout: links } = await this.weir.sensor.run(['ip', '-o', 'link']);
    return [
      ...names.split('\n').filter((line) => /^weir-/.test(line)),
      ...links.split('\n').filter((line) => /weir:/.test(line)),
    ];
  }
}

/** Every address of `first` to `last` that answers ARP, with its MAC, by `nmap -sn`. */
export async function findHosts(scanner: TestNamespace, targets: readonly string[], boundMs = 120_000): Promise<SeenHost[]> {
  const { stdout } = await scanner.run(['nmap', '-sn', '-n', '-PR', '-T4', '-oX', '-', ...targets], { timeoutMs: boundMs });
  const hosts: SeenHost[] = [];
  for (const [, block] of stdout.matchAll(/<host>([\s\S]*?)<\/host>/g)) {
    const ip = /addr="([^"]+)" addrtype="ipv4"/.exec(block)?.[1];
    const mac = /addr="([^"]+)" addrtype="mac"/.exec(block)?.[1];
    if (ip && mac) hosts.push({ ip, mac: mac.toLowerCase(), vendor: /vendor="([^"]+)"/.exec(block)?.[1] ?? '' });
  }
  return hosts;
}

/** Those of `first` to `last` that the directory says are living, as a scan should find them. */
export function livingBetween(directory: DecoyDirectory, first: string, last: string): { ip: string; mac: string }[] {
  const [from, to] = [parseAddress(first) as Address, parseAddress(last) as Address];
  const found: { ip: string; mac: string }[] = [];
  for (let { value } = from; value <= to.value; value += 1n) {
    const ip = renderAddress({ family: from.family, value });
    const mac = directory.find(ip)?.mac;
    if (mac !== undefined) found.push({ ip, mac });
  }
  return found;
}

/** Builds the stage, runs `body`, removes everything. `diversions` is what follows `diversions:` in weir.yaml. */
export function withTrunkLab<T>(configuration: string, body: (lab: TrunkLab) => Promise<T>): Promise<T> {
  return withWeirLab({ configuration }, async (weir) => {
    const wire = await weir.namespaces.namespace('w');
    const operator = await weir.namespaces.namespace('o');
    const lab = new TrunkLab(weir, wire, operator);
    await wire.ip('link add br0 type bridge vlan_filtering 1 vlan_default_pvid 0\nlink set br0 up\n');
    const trunk = await lab.plug(weir.sensor, 'trunk0', [`${ownAddresses.untagged}/24`]);
    await lab.vlans([`vlan add vid 1 dev ${trunk} pvid untagged`, `vlan add vid 2-4094 dev ${trunk}`]);
    await weir.sensor.ip(
      `link add link trunk0 name own type vlan id ${ownAddresses.vlan}\nlink set own up\naddr add ${ownAddresses.tagged}/24 dev own\n`,
    );
    await lab.access(operator, 'eth0', 1, ['10.9.0.1/24']);
    await lab.access(operator, 'eth1', ownAddresses.vlan, ['10.8.0.1/24']);
    for (const address of [ownAddresses.untagged, ownAddresses.tagged])
      await until(`the operator reaches ${address}`, () => lab.answersOperator(address));
    return body(lab);
  });
}
