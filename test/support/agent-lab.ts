// Namespaces for an agent: a branch with its machine and an attacker on one wire, a router that hides the branch behind its own
// address, and the network where the gateway and a proxy are.

import dgram from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';
import { AF_INET, AF_INET6, bindSocket, insideNetns, openSocket, SOCK_DGRAM, SOCK_STREAM } from '../../src/kernel/libc.ts';
import { renderSocketAddress } from '../../src/kernel/socket-address.ts';
import { type Address, parseAddress } from '../../src/model/address.ts';
import { openListener } from './loopback-listener.ts';
import { NamespaceLab, type TestNamespace } from './namespace.ts';

const gatewayPort = 7443;

/** A CONNECT proxy in a few lines: says on standard output what it was asked for. */
const proxyScript = `
const http = require('node:http'), net = require('node:net');
const server = http.createServer((_, response) => response.writeHead(405).end());
server.on('connect', (request, client, head) => {
  console.log(request.url + ' ' + request.headers['proxy-authorization']);
  const [host, port] = request.url.split(':');
  const far = net.connect(Number(port), host, () => { client.write('HTTP/1.1 200 OK\\r\\n\\r\\n'); far.write(head); far.pipe(client).pipe(far); });
  far.on('error', () => client.destroy());
  client.on('error', () => far.destroy());
});
server.listen(3128, '203.0.113.20', () => console.log('ready'));
`;

const holdScript = `
const [address, port] = process.argv.slice(-2);
require('node:net').createServer().listen(Number(port), address, () => console.log('ready'));
`;

export class AgentLab {
  readonly decoy = '10.9.0.5';
  readonly decoy6 = 'fd09::5';
  readonly attacker = '10.9.0.66';
  readonly attacker6 = 'fd09::66';
  readonly router = '192.168.7.1';
  readonly gateway = `203.0.113.10:${gatewayPort}`;
  readonly #lab = new NamespaceLab();
  branch!: TestNamespace;
  centre!: TestNamespace;
  #out!: TestNamespace;

  static async open(): Promise<AgentLab> {
    const lab = new AgentLab();
    try {
      return await AgentLab.#build(lab);
    } catch (error) {
      await lab.end().catch(() => {});
      throw error;
    }
  }

  static async #build(lab: AgentLab): Promise<AgentLab> {
    const inner = lab.#lab;
    const [branch, out, router, centre] = [
      await inner.namespace('branch'),
      await inner.namespace('out'),
      await inner.namespace('router'),
      await inner.namespace('centre'),
    ];
    lab.branch = branch;
    lab.centre = centre;
    lab.#out = out;
    await inner.join(
      { namespace: branch, link: 'eth0', addresses: [`${lab.decoy}/24`, `${lab.decoy6}/64`] },
      { namespace: out, link: 'eth0', addresses: [`${lab.attacker}/24`, `${lab.attacker6}/64`] },
    );
    await inner.join(
      { namespace: branch, link: 'eth1', addresses: ['192.168.7.2/24'] },
      { namespace: router, link: 'in', addresses: [`${lab.router}/24`] },
    );
    await inner.join(
      { namespace: router, link: 'out', addresses: ['203.0.113.1/24'] },
      { namespace: centre, link: 'eth0', addresses: ['203.0.113.10/24', '203.0.113.20/24'] },
    );
    await branch.ip(`route add default via ${lab.router}\n`);
    await router.setSysctl('net/ipv4/ip_forward', '1');
    await router.nft('table ip nat {\nchain out {\ntype nat hook postrouting priority srcnat;\noifname "out" masquerade\n}\n}\n');
    return lab;
  }

  /** For a centre: where agents find it. */
  readonly listen = (port = gatewayPort): { fd: number; port: number } =>
    insideNetns(this.centre.path, () => openListener(port, parseAddress('203.0.113.10') as Address));

  /** The attacker's connection to a port of the branch's machine. */
  async connect(port: number, to = this.decoy): Promise<net.Socket> {
    const fd = insideNetns(this.#out.path, () => openSocket(to.includes(':') ? AF_INET6 : AF_INET, SOCK_STREAM, 0));
    const socket = new net.Socket({ fd, allowHalfOpen: true, manualStart: true } as net.SocketConstructorOpts);
    socket.connect({ host: to, port });
    await once(socket, 'connect');
    socket.on('error', () => {});
    return socket;
  }

  /** The attacker's, from a port of its own. */
  datagrams(to: string): dgram.Socket {
    const six = to.includes(':');
    const fd = insideNetns(this.#out.path, () => openSocket(six ? AF_INET6 : AF_INET, SOCK_DGRAM, 0));
    bindSocket(fd, renderSocketAddress(parseAddress(six ? this.attacker6 : this.attacker) as Address, 0));
    const socket = dgram.createSocket(six ? 'udp6' : 'udp4');
    // Listens at once: there is no event to wait for.
    socket.bind({ fd });
    return socket;
  }

  /** Somebody else holds a port of the branch's machine. */
  async hold(address: string, port: number): Promise<void> {
    const child = this.branch.spawn([process.execPath, '-e', holdScript, '--', address, String(port)]);
    if (child.stdout) await once(child.stdout, 'data');
  }

  async proxy(): Promise<{ readonly url: string; asked(): string[] }> {
    const child = this.centre.spawn([process.execPath, '-e', proxyScript]);
    let said = '';
    child.stdout?.on('data', (bytes: Buffer) => {
      said += bytes;
    });
    if (child.stdout) await once(child.stdout, 'data');
    return { url: 'http://203.0.113.20:3128', asked: () => said.split('\n').filter((line) => line.includes(':')) };
  }

  /** Takes the wire to the gateway away, or gives it back. */
  async setWire(up: boolean): Promise<void> {
    await this.branch.ip(`link set eth1 ${up ? 'up' : 'down'}\n`);
    if (up) await this.branch.ip(`route replace default via ${this.router}\n`);
  }

  end(): Promise<void> {
    return this.#lab.end();
  }
}
