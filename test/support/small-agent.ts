// An agent of which only the link is there, as a process: enrols with a token, tells the rules it was given, then hands over what
// it is told on standard input, one JSON line each, answered in order. For tests of the gateway's side.
//
// argv: identity file, host, port, token. Input: {flow, text} or {batch} (base64). Output: {rules, configuration}, {answer}, {taken}.

import { createInterface } from 'node:readline';
import { systemClock } from '../../src/base/clock.ts';
import { openLog } from '../../src/base/log.ts';
import { AgentIdentity } from '../../src/relay/agents/agent-identity.ts';
import { parseToken } from '../../src/relay/agents/enrolment-token.ts';
import { enrolOverLink } from '../../src/relay/link/enrol.ts';
import { LinkClient } from '../../src/relay/link/link-client.ts';

const [, , file, host, port, token] = process.argv;
const say = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
const identity = await AgentIdentity.open(file);
const gateway = { host, port: Number(port) };
const { credentials, serverName, request } = await identity.beginEnrolment(parseToken(token));
const { certificate } = await enrolOverLink({ gateway, serverName, credentials, request });
await identity.accept(certificate);

const client = new LinkClient({
  gateway,
  serverName: identity.serverName,
  credentials: () => identity.credentials(),
  hello: () => ({
    version: '0.0.0',
    platform: 'linux',
    arch: 'x64',
    node: process.version,
    hostname: 'far',
    capabilities: ['tcp', 'udp'],
    clock: systemClock(),
    spool: { records: 0, bytes: 0, droppedRecords: 0, diskFull: false },
  }),
  onRules: (rules, configuration) => {
    say({ rules, configuration });
    client.send({ kind: 'applied', rules, refused: [], addresses: [] });
  },
  onTouch: () => {},
  onUpgrade: () => {},
  onCertificate: () => {},
  log: openLog('small-agent', 'error'),
  clock: systemClock,
});
client.start();

/** What came back until it ended, or how it broke. */
function handOver(flow: Parameters<LinkClient['openFlow']>[0]['flow'], text: string): Promise<string> {
  const stream = client.openFlow({ flow });
  if (!stream) return Promise.resolve('no link');
  return new Promise((resolve) => {
    let answer = '';
    stream.on('data', (bytes: Buffer) => {
      answer += bytes.toString('latin1');
    });
    stream.on('end', () => resolve(answer));
    stream.on('error', (error: NodeJS.ErrnoException) => resolve(`error ${error.code}`));
    stream.end(text);
  });
}

for await (const line of createInterface(process.stdin)) {
  const { flow, text, batch } = JSON.parse(line);
  if (flow) say({ answer: await handOver(flow, text) });
  else
    say({
      taken: await client.sendSpool(Buffer.from(batch, 'base64')).then(
        () => true,
        () => false,
      ),
    });
}
await client.close();
