// A registry of agents behind a real TLS server on loopback, with a clock the test turns. Counts where each visitor was stopped:
// in the handshake, by the gate, or not at all.

import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { parseMicros } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import type { LinkPeer } from '../../src/relay/agents/agent-gate.ts';
import { type AgentCredentials, AgentIdentity } from '../../src/relay/agents/agent-identity.ts';
import { type AgentRegistry, openAgentRegistry } from '../../src/relay/agents/agent-registry.ts';
import { parseToken } from '../../src/relay/agents/enrolment-token.ts';

/** Where a visitor was stopped, or who he is. */
export type Verdict = LinkPeer | 'handshake' | 'gate';

export class GateBed {
  readonly directory = mkdtempSync(path.join(tmpdir(), 'weir-gate-'));
  /** Microseconds; TLS itself goes by the machine's clock. */
  now = parseMicros(new Date().toISOString());
  registry!: AgentRegistry;
  #server: tls.Server | undefined;
  #verdict: (verdict: Verdict) => void = () => {};
  /** Agents whose links had to end, in order. */
  readonly gone: string[] = [];
  admitted = 0;

  async open(names: readonly string[] = []): Promise<void> {
    this.registry = await this.reopen(names);
    const server = tls.createServer(this.registry.tlsOptions());
    this.#server = server;
    this.registry.onChange((gone) => {
      this.gone.push(...gone);
      server.setSecureContext(this.registry.tlsOptions());
    });
    server.on('tlsClientError', (_, socket) => {
      socket.destroy();
      this.#verdict('handshake');
    });
    server.on('secureConnection', (socket) => {
      socket.on('error', () => {});
      const peer = this.registry.admit(socket);
      if (peer === undefined) {
        socket.destroy();
        return this.#verdict('gate');
      }
      this.admitted += 1;
      this.#verdict(peer);
      socket.end('welcome');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  }

  /** Another registry over the same files, as after a restart. */
  reopen(names: readonly string[] = []): Promise<AgentRegistry> {
    return openAgentRegistry({
      directory: path.join(this.directory, 'agents'),
      names,
      clock: () => this.now,
      log: silentLog,
    });
  }

  get port(): number {
    return (this.listener.address() as AddressInfo).port;
  }

  get listener(): tls.Server {
    if (!this.#server) throw new Error('not open');
    return this.#server;
  }

  identity(name: string): Promise<AgentIdentity> {
    return AgentIdentity.open(path.join(this.directory, `at-${name}`));
  }

  /** Connects with these and says where that ends; `seen` gets the client's socket once its side of the handshake is done. */
  async visit(options: tls.ConnectionOptions, seen: (socket: tls.TLSSocket) => void = () => {}): Promise<Verdict> {
    const verdict = new Promise<Verdict>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('nobody decided about the visitor')), 10_000);
      this.#verdict = (decided) => {
        clearTimeout(timer);
        resolve(decided);
      };
    });
    const socket = tls.connect({ host: '127.0.0.1', port: this.port, rejectUnauthorized: false, ...options });
    const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
    socket.on('error', () => {});
    socket.on('secureConnect', () => seen(socket));
    socket.resume();
    const result = await verdict;
    await closed;
    return result;
  }

  visitAs({ key, certificate }: { readonly key: string; readonly certificate: string }): Promise<Verdict> {
    return this.visit({ key, cert: certificate });
  }

  /** The whole of an enrolment, as agent and link do it; the new certificate has not been seen yet. */
  async enrol(identity: AgentIdentity, tokenText: string): Promise<AgentCredentials> {
    const { credentials, request } = await identity.beginEnrolment(parseToken(tokenText));
    const peer = await this.visitAs(credentials);
    if (typeof peer !== 'object' || !('enrolment' in peer)) throw new Error(`not let in to enrol: ${JSON.stringify(peer)}`);
    await identity.accept((await this.registry.enrol(peer.enrolment, request)).certificate);
    return identity.credentials();
  }

  async close(): Promise<void> {
    const server = this.#server;
    if (server) await new Promise((resolve) => server.close(resolve));
    await this.registry.close();
    rmSync(this.directory, { recursive: true });
  }
}
