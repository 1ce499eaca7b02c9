// A gateway with whole programs (`weir up`) and machines of agents behind wires of their own, each with an attacker that only that
// machine reaches: nothing but a link can bring the attacker's address to the gateway. For end-to-end tests of agents.

import dgram from 'node:dgram';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { AF_INET, AF_INET6, bindSocket, insideNetns, openSocket, SOCK_DGRAM, SOCK_STREAM } from '../../src/kernel/libc.ts';
import { renderSocketAddress } from '../../src/kernel/socket-address.ts';
import { type Address, parseAddress } from '../../src/model/address.ts';
import type { AgentStatus } from '../../src/model/agent.ts';
import { type Recorded, WeirLab } from '../../src/programs/weir-lab.ts';
import { AgentProcess, type AgentStart } from './agent-process.ts';
import { type TestNamespace, until } from './namespace.ts';

const linkPort = 7443;

/** The machine of one agent, and its attacker. */
export class Branch {
  readonly name: string;
  readonly machine: TestNamespace;
  readonly attacker: TestNamespace;
  /** The machine's own, which are the decoys. */
  readonly decoy: Readonly<Record<4 | 6, string>>;
  readonly source: Readonly<Record<4 | 6, string>>;
  readonly gateway: string;
  readonly data: string;

  constructor(name: string, number: number, machine: TestNamespace, attacker: TestNamespace, directory: string) {
    this.name = name;
    this.machine = machine;
    this.attacker = attacker;
    this.decoy = { 4: `10.9.${number}.5`, 6: `fd09:${number}::5` };
    this.source = { 4: `10.9.${number}.66`, 6: `fd09:${number}::66` };
    this.gateway = `10.7.${number}.1:${linkPort}`;
    this.data = path.join(directory, name);
    mkdirSync(this.data, { mode: 0o700 });
  }

  /** The attacker's connection to a port of the machine, by a socket of this process. */
  async connect(port: number, family: 4 | 6 = 4): Promise<net.Socket> {
    const fd = insideNetns(this.attacker.path, () => openSocket(family === 6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0));
    const socket = new net.Socket({ fd, allowHalfOpen: true, manualStart: true } as net.SocketConstructorOpts);
    socket.connect({ host: this.decoy[family], port });
    await once(socket, 'connect');
    socket.on('error', () => {});
    return socket;
  }

  /** Says this, half-closes, and reads to the end. Gives the port it spoke from. */
  async ask(
    port: number,
    family: 4 | 6 = 4,
    words: string | Buffer = 'GET / HTTP/1.0\r\n\r\n',
  ): Promise<{ readonly from: number; readonly answer: string }> {
    const socket = await this.connect(port, family);
    const from = socket.localPort ?? 0;
    let answer = '';
    socket.on('data', (bytes) => {
      answer += bytes;
    });
    socket.end(words);
    await once(socket, 'close');
    return { from, answer };
  }

  /** The attacker's datagrams, from one port. The caller closes it. */
  datagrams(family: 4 | 6 = 4): dgram.Socket {
    const fd = insideNetns(this.attacker.path, () => openSocket(family === 6 ? AF_INET6 : AF_INET, SOCK_DGRAM, 0));
    bindSocket(fd, renderSocketAddress(parseAddress(this.source[family]) as Address, 0));
    const socket = dgram.createSocket(family === 6 ? 'udp6' : 'udp4');
    socket.bind({ fd });
    return socket;
  }

  /** Takes the wire to the gateway away, or gives it back. */
  async setWire(up: boolean): Promise<void> {
    await this.machine.ip(`link set up0 ${up ? 'up' : 'down'}\n`);
  }
}

export class FleetBed {
  readonly lab: WeirLab;
  readonly #agents: AgentProcess[] = [];
  #branches = 0;

  private constructor(lab: WeirLab) {
    this.lab = lab;
  }

  /** `configuration` is weir.yaml without version, data and `agents`. */
  static async open(configuration: string): Promise<FleetBed> {
    return new FleetBed(await WeirLab.open({ configuration: `agents: { listen: "0.0.0.0:${linkPort}" }\n${configuration}` }));
  }

  configure(text: string): void {
    this.lab.configure(`agents: { listen: "0.0.0.0:${linkPort}" }\n${text}`);
  }

  /** A machine for an agent: decoys 10.9.N.5 and fd09:N::5, its attacker at .66, its wire to the gateway 10.7.N.0/24. */
  async addBranch(name: string): Promise<Branch> {
    this.#branches += 1;
    const number = this.#branches;
    const { namespaces, sensor, directory } = this.lab;
    const machine = await namespaces.namespace(`b${number}`);
    const attacker = await namespaces.namespace(`o${number}`);
    const branch = new Branch(name, number, machine, attacker, directory);
    const [decoys, sources] = [branch.decoy, branch.source].map((of) => [`${of[4]}/24`, `${of[6]}/64`]);
    await namespaces.join(
      { namespace: machine, link: 'eth0', addresses: decoys },
      { namespace: attacker, link: 'eth0', addresses: sources },
    );
    await namespaces.join(
      { namespace: machine, link: 'up0', addresses: [`10.7.${number}.2/24`] },
      { namespace: sensor, link: `branch${number}`, addresses: [`10.7.${number}.1/24`] },
    );
    return branch;
  }

  /** `weir agents add`, as a person does it. */
  async token(name: string): Promise<string> {
    const { stdout } = await this.lab.weir(['agents', 'add', name, '--json']);
    return (JSON.parse(stdout) as { token: string }).token;
  }

  /** Its process on its machine; with a token it enrols first. */
  start(branch: Branch, more: Partial<AgentStart> = {}): AgentProcess {
    const agent = new AgentProcess({
      data: branch.data,
      gateway: branch.gateway,
      prefix: branch.machine.inside([]),
      ...more,
    });
    this.#agents.push(agent);
    return agent;
  }

  /** Added, enrolled, linked, with its rules in force. */
  async enrol(branch: Branch, more: Partial<AgentStart> = {}): Promise<AgentProcess> {
    const agent = this.start(branch, { token: await this.token(branch.name), ...more });
    await agent.linked();
    return agent;
  }

  /** As `weir agents --json` shows it. */
  async status(name: string): Promise<AgentStatus | undefined> {
    const { stdout } = await this.lab.weir(['agents', '--json']);
    const all = stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as AgentStatus);
    return all.find((one) => one.name === name);
  }

  /** Waits until `weir agents` shows it so. */
  shown(name: string, what: string, condition: (status: AgentStatus) => boolean, boundMs = 30_000): Promise<AgentStatus> {
    return until<AgentStatus | undefined>(
      `weir agents shows of ${name}: ${what}`,
      async () => {
        const status = await this.status(name);
        return status && condition(status) ? status : undefined;
      },
      boundMs,
    );
  }

  /** All sessions on record that are over, at least `count`, without a process for each look. */
  async ended(count: number, boundMs = 30_000): Promise<Recorded[]> {
    return until<Recorded[] | undefined>(
      `${count} sessions on record and over`,
      async () => {
        const found = await this.#sessions();
        const open = found.filter(({ weir }) => (weir.session as { outcome?: string }).outcome === 'open');
        return found.length >= count && open.length === 0 ? found : undefined;
      },
      boundMs,
    );
  }

  async #sessions(): Promise<Recorded[]> {
    const found: Recorded[] = [];
    let cursor: string | undefined;
    do {
      const page = await this.lab.reader.sessions({ limit: '1000', ...(cursor === undefined ? {} : { before: cursor }) });
      found.push(...(page.items as unknown as Recorded[]));
      cursor = page.next;
    } while (cursor !== undefined && found.length < 200_000);
    return found;
  }

  async end(): Promise<void> {
    for (const agent of this.#agents) await agent.end('SIGKILL');
    await this.lab.end();
  }
}

/** Runs `body` with a bed and ends it whatever happens; the body's own failure is told first. */
export async function withFleet<T>(configuration: string, body: (bed: FleetBed) => Promise<T>): Promise<T> {
  const bed = await FleetBed.open(configuration);
  let result: T;
  try {
    result = await body(bed);
  } catch (error) {
    await bed.end().catch(() => {});
    throw error;
  }
  await bed.end();
  return result;
}
