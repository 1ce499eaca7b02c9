// `weir agents` from the command line to the agent and back: the command, the gateway's verbs, a real link with enrolled agents, and a
// store that has what came over the link. The agent here is the link's client; its decoys are what it says.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { CommandBed, now } from '../../test/support/command-bed.ts';
import { LinkBed, within } from '../../test/support/link-bed.ts';
import { sampleSession } from '../../test/support/sample-records.ts';
import { silentLog } from '../base/log.ts';
import type { AgentDiversion } from '../model/relayed-service.ts';
import type { AgentIdentity } from '../relay/agents/agent-identity.ts';
import type { LinkClient } from '../relay/link/link-client.ts';
import type { LinkClientOptions } from '../relay/link/link-client-options.ts';
import { AgentUpgrades, openProgramShelf } from './agent-upgrades.ts';
import { agentVerbs } from './agent-verbs.ts';

const configuration = '{"version":1}';
const rules = 'aaaabbbbcccc';

describe('the way of an agent', () => {
  const commands = new CommandBed();
  let links: LinkBed;
  const diversions: AgentDiversion[] = [
    {
      kind: 'agent',
      name: 'of-branch-1',
      agent: 'branch-1',
      tcp: [{ first: 23, last: 25 }],
      udp: [],
      addresses: [],
      persona: 'all-open',
      place: { file: 'weir.yaml', line: 1 },
    },
  ];

  before(async () => {
    links = await LinkBed.open();
    links.rules.set('branch-1', { rules, configuration });
    await commands.reset();
    const verbs = agentVerbs({
      registry: links.registry,
      links: links.server,
      upgrades: new AgentUpgrades({ shelf: await openProgramShelf(commands.directory), links: links.server, log: silentLog }),
      settings: () => ({
        agents: { publicNames: ['127.0.0.1'], rules: new Map([['branch-1', configuration]]) },
        diversions,
      }),
    });
    commands.agentAnswers = {
      report: () => verbs.agents(null),
      touch: (name) => verbs['agents-touch']({ name }),
      add: (names) => verbs['agents-add']({ names }),
      remove: async (name) => ((await verbs['agents-remove']({ name })) as { was: string }).was,
    };
    let number = 0;
    links.onConnection = ({ socket, source, destination, agent, diversion }) => {
      socket.on('error', () => {}).resume();
      number += 1;
      const facts = { source, destination, diversion, ...(agent === undefined ? {} : { agent }) };
      void commands.store?.apply([{ kind: 'session', session: sampleSession(now, number, facts) }], {});
    };
  });
  after(async () => {
    await links.close();
    commands.close();
  });

  /** An agent with port 23 taken, that touches what it is told to and hands the flow over. */
  function agent(identity: AgentIdentity, set: Partial<LinkClientOptions> = {}): { client: LinkClient; ended: Promise<string> } {
    let end: (why: string) => void = () => {};
    const ended = new Promise<string>((resolve) => {
      end = resolve;
    });
    const client: LinkClient = links.client(identity, {
      onRules: (name) => {
        const refused = [{ transport: 'tcp' as const, port: 23, why: 'EADDRINUSE' }];
        client.send({ kind: 'applied', rules: name, refused, addresses: ['127.0.0.1', '10.1.1.1'] });
      },
      onTouch: ({ id, ip, port, transport }) => {
        const source = { ip, port: 50_123 };
        client.openFlow({ flow: { transport, source, destination: { ip, port } } })?.on('error', () => {});
        client.send({ kind: 'touched', id, from: `${source.ip}:${source.port}` });
      },
      onGoodbye: (reason) => end(reason),
      ...set,
    });
    client.start();
    return { client, ended };
  }

  const applied = (): Promise<void> =>
    within(
      new Promise((resolve) => {
        const look = (): void => {
          const [status] = links.server.statuses();
          if (status?.state === 'linked' && status.rules?.applied === rules && status.rules.addresses) resolve();
          else setImmediate(look);
        };
        look();
      }),
      'the rules are applied',
    );

  let client: LinkClient | undefined;
  afterEach(() => client?.close());

  it('is proven by the record of its own touch, shown in the list, and ended by its removal', async () => {
    const identity = await links.enrolled('branch-1');
    const started = agent(identity);
    client = started.client;
    await applied();
    const { code, out, err } = await commands.run('agents test');
    assert.equal(code, 0, err);
    assert.match(out, /branch-1 +of-branch-1 +10\.1\.1\.1:50123 +10\.1\.1\.1:24\/tcp +OK +\w{19}/);
    const list = await commands.run('agents');
    assert.match(list.out, /branch-1 +linked +degraded +1\.2\.3 +127\.0\.0\.1:\d+ .* 1 port refused/);
    assert.match(list.err, /branch-1: it cannot listen on 1 of its ports, such as 23\/tcp: EADDRINUSE/);
    assert.match((await commands.run('agents remove branch-1')).out, /branch-1 is revoked/);
    assert.equal(await within(started.ended, 'goodbye'), 'revoked');
    const refused = await commands.run('agents test branch-1 --json');
    assert.equal(refused.code, 1);
    assert.equal(JSON.parse(refused.out).step, 'link');
    assert.match((await commands.run('agents')).out, /branch-1 +revoked/);
  });

  it('changes certificates over the link without losing it', async () => {
    const identity = await links.enrolled('branch-1');
    const before = identity.credentials().certificate;
    let renewed: () => void = () => {};
    const done = new Promise<void>((resolve) => {
      renewed = resolve;
    });
    const started = agent(identity, { onCertificate: (certificate) => void identity.accept(certificate).then(renewed) });
    client = started.client;
    await applied();
    client.send({ kind: 'renew', request: await identity.beginRenewal() });
    await within(done, 'the new certificate');
    assert.notEqual(identity.credentials().certificate, before);
    assert.equal(client.state.state, 'linked');
    await client.close();
    client = agent(identity).client;
    await applied();
    assert.equal(links.registry.agents().find(({ name }) => name === 'branch-1')?.state, 'enrolled');
  });
});
