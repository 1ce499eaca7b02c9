// The wire between an agent and its gateway, on loopback: it can be cut in one direction or both without either end hearing of it.

import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';

type Way = 'up' | 'down';

export class LinkGate {
  readonly #server = net.createServer();
  readonly #sockets = new Set<net.Socket>();
  /** Of connections there are; new ones pass. */
  #cuts: ((way: Way) => void)[] = [];
  port = 0;

  static async open(gatewayPort: number): Promise<LinkGate> {
    const gate = new LinkGate();
    gate.#server.on('connection', (agent) => {
      const gateway = net.connect(gatewayPort, '127.0.0.1');
      const cut = { up: false, down: false };
      gate.#cuts.push((way) => {
        cut[way] = true;
      });
      const join = (from: net.Socket, to: net.Socket, way: Way): void => {
        gate.#sockets.add(from);
        from.on('data', (bytes) => void (cut[way] || to.write(bytes)));
        from.on('error', () => {});
        from.on('close', () => {
          gate.#sockets.delete(from);
          if (!cut[way]) to.destroy();
        });
      };
      join(agent, gateway, 'up');
      join(gateway, agent, 'down');
    });
    gate.#server.listen(0, '127.0.0.1');
    await once(gate.#server, 'listening');
    gate.port = (gate.#server.address() as AddressInfo).port;
    return gate;
  }

  /** From now on nothing passes this way, `up` to the gateway or `down` to the agent, on the connections there are. */
  cut(...ways: readonly Way[]): void {
    for (const cut of this.#cuts) for (const way of ways) cut(way);
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
