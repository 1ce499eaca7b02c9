// Whose word counts about flows of broken links, whatever comes first, and what is bounded of them. Over a real link: what both
// ends say of a flow that is taken.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { flowTo, LinkBed, within } from '../../../test/support/link-bed.ts';
import { systemClock } from '../../base/clock.ts';
import { createIdentifier } from '../../model/identifier.ts';
import type { SessionClaim } from '../../model/session.ts';
import { type FlowClaim, FlowClaims } from './flow-claims.ts';

const now = 1_700_000_000_000_000;
const nameOf = (agent: string, id: string): string => `${agent} ${id}`;
const claims = (set: { most?: number; patienceMs?: number } = {}): FlowClaims =>
  new FlowClaims({ nameOf, clock: () => now, ...set });

function flow(of: FlowClaims, agent = 'one'): { readonly claim: FlowClaim; readonly said: boolean[] } {
  const claim = of.open(agent, createIdentifier(now));
  assert.ok(claim);
  const said: boolean[] = [];
  claim.whenSettled((isOurs) => said.push(isOurs));
  return { claim, said };
}

describe('claims of flows', () => {
  it('are of times that can be, and of one agent', () => {
    const of = claims();
    const id = createIdentifier(now - 60e6);
    assert.deepEqual([of.open('one', id)?.id, of.open('one', id)?.start], [`one ${id}`, now - 60e6]);
    for (const at of [now - 2 * 3600e6, now + 120e6]) assert.equal(of.open('one', createIdentifier(at)), undefined);
    assert.equal(of.open('one', 'x'), undefined);
  });

  it('are ours once the agent is back and does not name them, wherever the old link ends before or after that', () => {
    for (const order of ['first', 'last'] as const) {
      const of = claims();
      const [mine, theirs, others] = [flow(of), flow(of), flow(of, 'two')];
      of.linked('one', []);
      const end = (): void => of.ended('one', [mine.claim, theirs.claim], order === 'last');
      if (order === 'first') end();
      of.ended('two', [others.claim], false);
      assert.deepEqual([mine.said, theirs.said, others.said], [[], [], []]);
      of.linked('one', [theirs.claim.given]);
      if (order === 'last') end();
      assert.deepEqual([mine.said, theirs.said, others.said, of.waiting], [[true], [], [], 2], order);
      of.handedIn('two', theirs.claim.given);
      assert.deepEqual(theirs.said, [], 'what another agent hands in says nothing about it');
      of.handedIn('one', theirs.claim.given);
      of.close();
      assert.deepEqual([theirs.said, others.said, of.waiting], [[false], [true], 0]);
    }
  });

  it('wait in bounded number, and not for ever', async () => {
    const few = claims({ most: 2 });
    const flows = [flow(few), flow(few), flow(few)];
    few.ended(
      'one',
      flows.map(({ claim }) => claim),
      false,
    );
    assert.deepEqual([flows.map(({ said }) => said), few.waiting], [[[true], [], []], 2]);
    few.close();
    const short = claims({ patienceMs: 5 });
    const { claim } = flow(short);
    short.ended('one', [claim], false);
    const settled = new Promise((resolve) => claim.whenSettled(resolve));
    // Its timer keeps no process alive.
    const alive = setInterval(() => {}, 1000);
    assert.equal(await within(settled, 'it is given up'), true);
    clearInterval(alive);
    assert.equal(short.waiting, 0);
  });

  it('are told by agents that can, and settled when they have heard', async () => {
    const bed = await LinkBed.open();
    try {
      const arrived: (SessionClaim | undefined)[] = [];
      const starts: number[] = [];
      let next: () => void = () => {};
      bed.onConnection = ({ claim, acceptedAt, socket }) => {
        socket.on('error', () => {});
        arrived.push(claim);
        starts.push(acceptedAt);
        next();
      };
      const client = await bed.linked('branch-1');
      const at = systemClock() - 1e6;
      const session = createIdentifier(at);
      for (const request of [{ flow: flowTo() }, { flow: flowTo(), session }]) {
        const came = new Promise<void>((resolve) => {
          next = resolve;
        });
        client.openFlow(request)?.on('error', () => {});
        await within(came, 'a flow');
      }
      assert.deepEqual([arrived[0], arrived[1]?.id, starts[1]], [undefined, `${session.slice(0, 11)}-branch-1`, at]);
      const settled = new Promise<boolean>((resolve) => arrived[1]?.whenSettled(resolve));
      assert.equal(await within(settled, 'the agent heard of it'), true);
      assert.equal(client.state.state, 'linked');
    } finally {
      await bed.close();
    }
  });
});
