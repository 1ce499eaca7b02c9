// A gateway's registry that adds agents, lets them enrol and removes them without end, and prints each thing once it is done.
// To be killed. argv: a directory, the number of the run.

import { generateKeyPairSync } from 'node:crypto';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { openAgentRegistry } from '../../src/relay/agents/agent-registry.ts';
import { deriveEnrolment, parseToken } from '../../src/relay/agents/enrolment-token.ts';
import { renderRequest } from '../../src/relay/agents/render-certificate.ts';

const [, , directory, run] = process.argv;
const registry = await openAgentRegistry({ directory, names: [], clock: systemClock, log: silentLog });
const say = (...words: string[]): void => void process.stdout.write(`${words.join(' ')}\n`);
const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
say('authority', registry.authority);

for (let count = 0; ; count += 1) {
  const name = `a-${run}-${count}`;
  const { token } = await registry.add(name);
  const { id } = deriveEnrolment(parseToken(token));
  say('waiting', name, id);
  if (count % 3 === 0) continue;
  await registry.enrol(id, renderRequest(key));
  say('enrolled', name);
  if (count % 3 === 1) continue;
  await registry.remove(name);
  say('revoked', name);
}
