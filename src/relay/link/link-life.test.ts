// A link from its first connection to its end: messages both ways, records and programs over it, and every way it breaks and
// comes back. Over real TLS on loopback, with real identities.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { flowTo, LinkBed, Watched, within } from '../../../test/support/link-bed.ts';
import { systemClock } from '../../base/clock.ts';
import { WeirError } from '../../base/errors.ts';
import type { AgentStatus } from '../../model/agent.ts';
import { gatewayNameOf } from '../agents/enrolment-token.ts';
import type { LinkClient } from './link-client.ts';
import type { LinkClientOptions } from './link-client-options.ts';

const isCode = (code: string) => (error: unknown) => error instanceof WeirError && error.code === code;
const spool = { records: 3, bytes: 999, droppedRecords: 0, diskFull: false };

/** Waits until what is looked at is so, a look every turn of the loop. */
const until = (what: string, holds: () => boolean): Promise<void> =>
  within(
    new Promise((resolve) => {
      const look = (): void => (holds() ? resolve() : void setTimeout(look, 2));
      look();
    }),
    what,
  );

describe('a link', () => {
  let bed: LinkBed;
  beforeEach(async () => {
    bed = await LinkBed.open();
  });
  afterEach(() => bed.close());

  const status = (name = 'branch-1'): AgentStatus => {
    const found = bed.server.statuses().find((one) => one.name === name);
    assert.ok(found);
    return found;
  };

  it('tells who is there, from the token to the revocation', async () => {
    await bed.registry.add('branch-2');
    assert.deepEqual([status('branch-2').state, status('branch-2').health], ['waiting', 'good']);
    const client = await bed.linked('branch-1');
    await until('hello was heard', () => status().state === 'linked');
    const { version, platform, peer, health, reasons, certificateUntil } = status();
    assert.deepEqual([version, platform, health, reasons], ['1.2.3', `linux x64, Node ${process.version}`, 'good', []]);
    assert.match(peer ?? '', /^127\.0\.0\.1:\d+$/);
    assert.ok(Date.parse(certificateUntil ?? '') > Date.now());
    await until('a ping came back', () => status().latencyMicros !== undefined && client.latencyMicros !== undefined);
    const reset = new Promise<string | undefined>((resolve) => {
      const flow = client.openFlow({ flow: flowTo() });
      flow?.on('error', (error: NodeJS.ErrnoException) => resolve(error.code));
    });
    await until('the flow arrived', () => bed.server.counters.flows === 1);
    await bed.registry.remove('branch-1');
    assert.equal(await within(reset, 'its flow ends'), 'ECONNRESET');
    await until('it is out', () => client.state.state !== 'linked');
    await until('it tried again, in vain', () => bed.server.counters.notAdmitted > 0);
    assert.equal(status().state, 'revoked');
  });

  it('pushes rules, once, and shows what became of them', async () => {
    const one = { rules: '0123456789ab', configuration: '{"version":1}' };
    const two = { rules: 'ba9876543210', configuration: `{"version":1,"x":"${'y'.repeat(2_000_000)}"}` };
    bed.rules.set('branch-1', one);
    const got: string[] = [];
    const client = await bed.linked('branch-1', {
      onRules: (rules, configuration) => void got.push(`${rules} ${configuration.length}`),
    });
    await until('rules came', () => got.length === 1);
    await until('status shows it', () => status().rules?.wanted === one.rules);
    assert.equal(status().health, 'degraded');
    client.send({
      kind: 'applied',
      rules: one.rules,
      refused: [{ transport: 'tcp', port: 445, why: 'EADDRINUSE' }],
      addresses: ['10.1.1.1'],
    });
    await until('they are applied', () => status().rules?.applied === one.rules);
    assert.match(status().reasons.join(), /cannot listen on 1 of its ports, such as 445\/tcp: EADDRINUSE/);
    bed.server.pushRules();
    bed.rules.set('branch-1', two);
    bed.server.pushRules('branch-1');
    await until('the new ones came', () => got.length === 2);
    assert.deepEqual(got, [`${one.rules} 13`, `${two.rules} ${two.configuration.length}`]);
    assert.match(status().reasons.join(), /latest rules/);
  });

  it('lets an agent touch its own decoy and say where from', async () => {
    let answer: (client: LinkClient, id: string) => void = (client, id) =>
      void client.send({ kind: 'touched', id, from: '10.1.1.1 50000' });
    const client: LinkClient = await bed.linked('branch-1', { onTouch: ({ id }) => answer(client, id) });
    const order = { transport: 'tcp', ip: '10.1.1.1', port: 445, payload: 'weir' } as const;
    assert.deepEqual(await bed.server.touch('branch-1', order, 5000), { from: '10.1.1.1 50000' });
    answer = (_, id) => void client.send({ kind: 'touched', id, error: 'ECONNREFUSED' });
    await assert.rejects(bed.server.touch('branch-1', order, 5000), isCode('bad-request'));
    answer = () => {};
    await assert.rejects(bed.server.touch('branch-1', order, 30), isCode('timeout'));
    await assert.rejects(bed.server.touch('nobody', order, 30), isCode('not-found'));
    const left = bed.server.touch('branch-1', order, 5000);
    bed.server.disconnect('branch-1', 'shutdown');
    await assert.rejects(left, isCode('not-found'));
  });

  it('takes records, and says so only when they are durable', async () => {
    const taken: string[] = [];
    let durable: () => void = () => {};
    bed.onSpool = (agent, batch) => {
      taken.push(`${agent} ${batch.length}`);
      return new Promise((resolve) => {
        durable = resolve;
      });
    };
    const client = await bed.linked('branch-1');
    let told = false;
    const sent = client.sendSpool(randomBytes(3_000_000)).then(() => {
      told = true;
    });
    await until('they are there', () => taken.length === 1);
    assert.equal(told, false);
    durable();
    await within(sent, 'told');
    assert.deepEqual(taken, ['branch-1 3000000']);
    bed.onSpool = () => Promise.reject(new WeirError('disk-full', 'no room'));
    await assert.rejects(client.sendSpool(randomBytes(10)), isCode('store-unavailable'));
    await assert.rejects(client.sendSpool(randomBytes(9_000_000)), isCode('store-unavailable'));
    assert.deepEqual([bed.server.counters.spoolBatches, bed.server.counters.spoolRefused], [1, 2]);
    bed.onSpool = async () => {
      bed.server.disconnect('branch-1', 'shutdown');
      await new Promise(() => {});
    };
    await assert.rejects(client.sendSpool(randomBytes(10)), isCode('not-running'));
  });

  it('gives programs out, and upgrades are followed to their end', async () => {
    const program = randomBytes(5_000_000);
    bed.programs.set('1.3.0', () => Readable.from([program.subarray(0, 1_000_000), program.subarray(1_000_000)]));
    const offers: string[] = [];
    const client = await bed.linked('branch-1', { onUpgrade: ({ version }) => void offers.push(version) });
    assert.ok((await buffer(client.fetchProgram('1.3.0'))).equals(program));
    await assert.rejects(buffer(client.fetchProgram('9.9.9')), isCode('not-found'));
    await assert.rejects(buffer(client.fetchProgram('../../etc/passwd')), isCode('not-found'));
    assert.equal(bed.server.counters.requestsRefused, 2);
    assert.equal(bed.server.offerUpgrade('branch-1', { version: '1.3.0', sha256: 'ab'.repeat(32), bytes: 5_000_000 }), true);
    await until('it was offered', () => offers.length === 1);
    assert.deepEqual(status().upgrade, { version: '1.3.0', state: 'offered' });
    client.send({ kind: 'upgrade', version: '1.3.0', state: 'staged' });
    await until('it is staged', () => status().upgrade?.state === 'staged');
    bed.server.disconnect('branch-1', 'shutdown');
    await until('it came back as it was', () => status().upgrade?.state === 'failed');
    assert.match(status().reasons.join(), /came back with 1\.2\.3/);
  });

  it('renews a certificate, and uses it from the next link on', async () => {
    const identity = await bed.enrolled('branch-1');
    const before = identity.credentials().certificate;
    const watched = new Watched((onStateChange) =>
      bed.client(identity, {
        onStateChange,
        onCertificate: (certificate) =>
          void identity.accept(certificate).then(() => bed.server.disconnect('branch-1', 'shutdown')),
      }),
    );
    await watched.reach('linked');
    watched.client.send({ kind: 'renew', request: await identity.beginRenewal() });
    await watched.reach('away');
    await watched.reach('linked');
    assert.notEqual(identity.credentials().certificate, before);
  });

  it('is replaced by a newer one of the same agent, whose flows go on', async () => {
    const identity = await bed.enrolled('branch-1');
    const first = new Watched((onStateChange) =>
      bed.client(identity, { onStateChange, limits: { backOffMs: 60_000, backOffMaxMs: 60_000 } }),
    );
    await first.reach('linked');
    const old = first.client.openFlow({ flow: flowTo() });
    assert.ok(old);
    const reset = within(once(old, 'error'), 'the old flow ends');
    const second = new Watched((onStateChange) => bed.client(identity, { onStateChange }));
    const gone = first.reach('away');
    await second.reach('linked');
    const state = await gone;
    assert.match('reason' in state ? (state.reason ?? '') : '', /replaced/);
    await reset;
    assert.deepEqual([bed.server.counters.replaced, bed.server.open.links], [1, 1]);
    assert.equal(second.client.state.state, 'linked');
  });

  it('comes back after the gateway was away, with flows again', async () => {
    const identity = await bed.enrolled('branch-1');
    const states: string[] = [];
    const watched = new Watched((onStateChange) =>
      bed.client(identity, {
        onStateChange: (state) => {
          states.push(state.state);
          onStateChange(state);
        },
      }),
    );
    await watched.reach('linked');
    await bed.server.close();
    await until('it noticed', () => watched.client.state.state !== 'linked');
    assert.equal(watched.client.openFlow({ flow: flowTo() }), undefined);
    assert.equal(watched.client.counters.flowsRefused, 1);
    await until('it tried', () => watched.client.counters.connects > 2);
    await bed.startServer();
    await watched.reach('linked');
    const flow = watched.client.openFlow({ flow: flowTo() });
    assert.ok(flow);
    flow.end('again');
    assert.equal((await buffer(flow)).toString(), 'again');
    assert.ok(states.includes('away') && states.includes('connecting'));
  });

  it('is noticed at both ends when it breaks without a word', async () => {
    bed.limits = { pingEveryMs: 50, deadAfterMs: 200 };
    await bed.server.close();
    await bed.startServer();
    const identity = await bed.enrolled('branch-1');
    const hole = await BlackHole.open(bed.port);
    try {
      const watched = new Watched((onStateChange) =>
        bed.client(identity, {
          onStateChange,
          gateway: { host: '127.0.0.1', port: hole.port },
          limits: { pingEveryMs: 50, deadAfterMs: 200, connectMs: 300 },
        }),
      );
      await watched.reach('linked');
      await until('the gateway knows', () => bed.server.open.links === 1);
      hole.swallow();
      const state = await watched.reach('away', 2000);
      assert.match('reason' in state ? (state.reason ?? '') : '', /nothing was heard/);
      await until('the gateway noticed', () => bed.server.counters.dead === 1 && bed.server.open.links === 0);
      await until('and the way back is no better', () => watched.client.counters.connects > 2);
      hole.let();
      await watched.reach('linked');
      hole.cut();
      await watched.reach('away');
      await watched.reach('linked');
    } finally {
      await hole.close();
    }
  });

  it('goes through an HTTP proxy, and says what a proxy has against it', async () => {
    const identity = await bed.enrolled('branch-1');
    const asked: string[] = [];
    const proxy = http.createServer((_, response) => response.writeHead(403).end());
    proxy.on('connect', (request, socket: net.Socket, head) => {
      asked.push(`${request.url} ${request.headers['proxy-authorization']}`);
      if (request.headers['proxy-authorization'] !== 'Basic b3BlbjpzZXNhbWU=') {
        socket.end('HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n');
        return;
      }
      const way = net.connect(bed.port, '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
        way.write(head);
        way.pipe(socket).pipe(way);
      });
      way.on('error', () => socket.destroy());
      socket.on('error', () => way.destroy());
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    const { port } = proxy.address() as AddressInfo;
    const through = (authorization?: string): Partial<LinkClientOptions> => ({
      gateway: { host: 'gateway.example.org', port: 443 },
      proxy: { host: '127.0.0.1', port, ...(authorization === undefined ? {} : { authorization }) },
    });
    const denied = new Watched((onStateChange) => bed.client(identity, { ...through(), onStateChange }));
    const state = await denied.reach('away');
    assert.match('reason' in state ? (state.reason ?? '') : '', /proxy 127\.0\.0\.1 \d+ answered 407/);
    await denied.client.close();
    const let_ = new Watched((onStateChange) => bed.client(identity, { ...through('Basic b3BlbjpzZXNhbWU='), onStateChange }));
    await let_.reach('linked');
    const flow = let_.client.openFlow({ flow: flowTo() });
    flow?.end('through');
    assert.equal((await buffer(flow ?? Readable.from([]))).toString(), 'through');
    assert.equal(asked.at(-1), 'gateway.example.org:443 Basic b3BlbjpzZXNhbWU=');
    await let_.client.close();
    proxy.closeAllConnections();
    proxy.close();
  });

  it('tells how wrong the clock is, and is not stopped by it', async () => {
    const yearMicros = 365 * 86_400e6;
    const ahead = (): number => systemClock() + yearMicros;
    let skew = 0;
    const identity = await bed.enrolled('branch-1');
    const hello = {
      ...{ version: '1.2.2', platform: 'linux', arch: 'x64', node: 'v20', hostname: 'far', capabilities: [] },
      spool,
    };
    const watched = new Watched((onStateChange) =>
      bed.client(identity, {
        clock: ahead,
        hello: () => ({ ...hello, clock: ahead() }),
        onWelcome: (_, skewMicros) => {
          skew = skewMicros;
        },
        onStateChange,
      }),
    );
    await watched.reach('linked');
    assert.ok(Math.abs(skew - yearMicros) < 1e6);
    await until('hello was heard', () => status().skewMicros !== undefined);
    assert.ok(Math.abs((status().skewMicros ?? 0) - yearMicros) < 1e6);
    assert.match(status().reasons.join(), /runs 1\.2\.2, this gateway 1\.2\.3.*its clock is 3153\d{4} s ahead/);
    assert.deepEqual(status().spool, spool);
  });

  it('waits longer each time, by chance, and never two at once', async () => {
    const identity = await bed.enrolled('branch-1');
    await bed.server.close();
    const waits: number[] = [];
    const client = bed.client(identity, {
      random: () => 0.5,
      limits: { backOffMs: 8, backOffMaxMs: 100 },
      clock: () => 0,
      onStateChange: (state) => {
        if (state.state === 'away') waits.push(state.nextTryAt);
      },
    });
    client.start();
    client.start();
    await until('six attempts', () => waits.length === 6);
    assert.deepEqual(waits, [6, 12, 24, 48, 75, 75]);
    await bed.startServer();
    client.retryNow();
    client.retryNow();
    await until('linked', () => client.state.state === 'linked');
    assert.equal(bed.server.counters.links, 1);
  });
});

describe('who is not our gateway', () => {
  let bed: LinkBed;
  let other: LinkBed;
  beforeEach(async () => {
    bed = await LinkBed.open();
    other = await LinkBed.open();
  });
  afterEach(async () => {
    await bed.close();
    await other.close();
  });

  it('is turned away before a byte is sent: another CA, another name', async () => {
    const identity = await bed.enrolled('branch-1');
    for (const [set, why] of [
      [{ gateway: { host: '127.0.0.1', port: other.port } }, /not of the CA|ended before the handshake|alert/],
      [{ serverName: 'elsewhere.example.org' }, /does not name elsewhere/],
      [{ serverName: '192.0.2.1' }, /does not name 192\.0\.2\.1/],
      [{ credentials: () => ({ ...identity.credentials(), caFingerprint: 'ab'.repeat(32) }) }, /not of the CA/],
    ] as const) {
      const watched = new Watched((onStateChange) => bed.client(identity, { ...set, onStateChange }));
      const state = await watched.reach('away');
      assert.match('reason' in state ? (state.reason ?? '') : '', why);
      await watched.client.close();
    }
    assert.equal(bed.server.counters.links + other.server.counters.links, 0);
    for (const serverName of ['gateway.example.org', '127.0.0.1', gatewayNameOf(bed.registry.authority)]) {
      const watched = new Watched((onStateChange) => bed.client(identity, { serverName, onStateChange }));
      await watched.reach('linked');
      await watched.client.close();
    }
  });
});

/** Passes a connection on until told to swallow everything, as a firewall that forgot it. */
class BlackHole {
  readonly port: number;
  readonly #server: net.Server;
  readonly #pairs = new Set<readonly [net.Socket, net.Socket]>();
  #swallowing = false;

  static async open(target: number): Promise<BlackHole> {
    const server = net.createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new BlackHole(server, target);
  }

  constructor(server: net.Server, target: number) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on('connection', (near) => {
      const far = net.connect(target, '127.0.0.1');
      this.#pairs.add([near, far]);
      for (const [from, to] of [
        [near, far],
        [far, near],
      ]) {
        from.on('data', (bytes) => {
          if (!this.#swallowing) to.write(bytes);
        });
        from.on('error', () => {});
        from.on('close', () => {
          if (!this.#swallowing) to.destroy();
        });
      }
    });
  }

  swallow(): void {
    this.#swallowing = true;
  }

  let(): void {
    this.#swallowing = false;
    this.cut();
  }

  cut(): void {
    for (const [near, far] of this.#pairs) {
      near.destroy();
      far.destroy();
    }
    this.#pairs.clear();
  }

  async close(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
