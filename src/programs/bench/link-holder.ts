// The gateway's end of agents' links as a process of its own, for `weir bench agents`: told what to do over IPC, ends with its
// parent. Arguments: directory, port (0: any), agents.

import { join } from 'node:path';
import { systemClock } from '../../base/clock.ts';
import { silentLog } from '../../base/log.ts';
import {
  AF_INET,
  bindSocket,
  listenSocket,
  openSocket,
  readSocketName,
  SO_REUSEADDR,
  SOCK_STREAM,
  SOL_SOCKET,
  setSocketOption,
} from '../../kernel/libc.ts';
import { loopbackOf, renderSocketAddress, socketPort } from '../../kernel/socket-address.ts';
import { AgentIdentity } from '../../relay/agents/agent-identity.ts';
import { type AgentRegistry, openAgentRegistry } from '../../relay/agents/agent-registry.ts';
import { deriveEnrolment, parseToken } from '../../relay/agents/enrolment-token.ts';
import { LinkServer } from '../../relay/link/link-server.ts';

const [directory, wantedPort, agents] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const agentName = (index: number): string => `agent-${index}`;

let rules: { readonly rules: string; readonly configuration: string } | undefined;
let server: LinkServer | undefined;

async function enrolAll(registry: AgentRegistry): Promise<void> {
  if (registry.agents().length >= agents) return;
  for (let index = 0; index < agents; index += 1) {
    const identity = await AgentIdentity.open(join(directory, `${agentName(index)}.json`));
    const token = parseToken((await registry.add(agentName(index))).token);
    const { request } = await identity.beginEnrolment(token);
    await identity.accept((await registry.enrol(deriveEnrolment(token).id, request)).certificate);
  }
}

async function start(): Promise<void> {
  const registry = await openAgentRegistry({
    directory: join(directory, 'agents'),
    names: [],
    clock: systemClock,
    log: silentLog,
  });
  await enrolAll(registry);
  server = new LinkServer({
    gate: registry,
    version: '1.0.0',
    rulesOf: () => rules,
    placeOf: () => undefined,
    onConnection: ({ socket }) => void socket.resetAndDestroy(),
    onDatagram: () => {},
    sessionIdOf: (_agent, id) => id,
    onSpool: async () => {},
    program: () => undefined,
    log: silentLog,
    clock: systemClock,
    // All come from one address here, and at once.
    limits: { handshakes: 4096, handshakesPerSource: 4096, handshakesPerSecond: 100_000 },
  });
  const fd = openSocket(AF_INET, SOCK_STREAM, 0);
  setSocketOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  bindSocket(fd, renderSocketAddress(loopbackOf(4), wantedPort));
  listenSocket(fd, 4096);
  const own = new Uint8Array(28);
  readSocketName(fd, own);
  server.addListener(fd);
  process.send?.({ port: socketPort(own) });
}

process.on('disconnect', () => process.exit());
process.on('message', (message: { ask: 'memory' | 'state' } | { push: string; configuration: string }) => {
  if ('push' in message) {
    rules = { rules: message.push, configuration: message.configuration };
    server?.pushRules();
  } else if (message.ask === 'memory') {
    globalThis.gc?.();
    process.send?.({ residentBytes: process.memoryUsage().rss });
  } else {
    const statuses = server?.statuses() ?? [];
    process.send?.({
      linked: statuses.filter(({ state }) => state === 'linked').length,
      applied: rules ? statuses.filter((one) => one.state === 'linked' && one.rules?.applied === rules?.rules).length : 0,
    });
  }
});
await start();
