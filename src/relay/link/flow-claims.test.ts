// Whose word counts about flows of broken links, whatever comes first, and what is bounded of them. Over a real link: what both
// ends say of a flow that is taken.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { flowTo, LinkBed, within } from '../../../test/support/link-bed.ts';
import { until } from '../../../test/support/namespace.ts';
import { systemClock } from '../../base/clock.ts';
import { createIdentifier } from '../../model/identifier.ts';
import type { SessionClaim } from '../../model/session.ts';
import type { AgentLink } from './agent-link.ts';
import { FlowClaim, FlowClaims, type FlowClaimsOptions } from './flow-claims.ts';

const now = 1_700_000_000_000_000;
const nameOf = (agent: string, id: string): string => `${agent} ${id}`;
const claims = (set: Partial<FlowClaimsOptions> = {}): FlowClaims => new FlowClaims({ nameOf, clock: () => now, ...set });

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
    const id = createIdentifier(now - 1e6);
    assert.equal(of.open('one', id)?.id, `one ${id}`);
    for (const at of [now - 120e6, now + 20e6]) assert.equal(of.open('one', createIdentifier(at)), undefined);
    assert.equal(of.open('one', 'x'), undefined);
  });

  it('begin when the agent says where that can be, and never after now', () => {
    const of = claims();
    const startOf = (at: number): number | undefined => of.open('one', createIdentifier(at))?.start;
    assert.deepEqual([now - 3e6, now, now - 30e6, now + 5e6].map(startOf), [now - 3e6, now, now, now]);
    // Another day than the agent's record says: a store would not find the one by the other.
    const midnight = Math.ceil(now / 86_400e6) * 86_400e6;
    const late = claims({ clock: () => midnight + 1e6 });
    assert.equal(late.open('one', createIdentifier(midnight - 20e6)), undefined);
    assert.equal(late.open('one', createIdentifier(midnight - 1e6))?.start, midnight - 1e6);
  });

  it('are good for one flow of an agent, whatever became of it', () => {
    const of = claims({ remembered: 3 });
    const { claim, said } = flow(of);
    const { given } = claim;
    assert.equal(of.open('one', given), undefined, 'it lives');
    assert.ok(of.open('two', given), 'it is of one agent');
    of.ended('one', [claim], false);
    assert.equal(of.open('one', given), undefined, 'it waits');
    of.linked('one', []);
    assert.deepEqual(said, [true]);
    assert.equal(of.open('one', given), undefined, 'it is on record');
    of.ended('one', [], true);
    of.ended('one', [], false);
    assert.equal(of.open('one', given), undefined, 'the agent went and came');
    flow(of);
    flow(of);
    assert.equal(of.open('one', createIdentifier(now)), undefined, 'as many as are remembered');
    flow(of, 'two');
    of.close();
  });

  it('are forgotten as used when they cannot come again', async () => {
    let at = now;
    const of = claims({ clock: () => at, remembered: 1, patienceMs: 5 });
    flow(of);
    assert.equal(of.open('one', createIdentifier(at)), undefined);
    at += 61e6;
    const alive = setInterval(() => {}, 1000);
    try {
      await until('there is room', () => of.open('one', createIdentifier(at)) !== undefined);
    } finally {
      clearInterval(alive);
      of.close();
    }
  });

  it('never leave one unsettled behind for another of the same name', () => {
    const of = claims();
    const { claim, said } = flow(of);
    const same = new FlowClaim(claim.given, claim.id, now);
    of.ended('one', [claim], false);
    of.ended('one', [same], false);
    assert.deepEqual([said, of.waiting], [[true], 1]);
    of.close();
    assert.equal(same.isSettled, true);
  });

  it("stay the agent's that it named once, when the link breaks again before its records are in", () => {
    const of = claims();
    const [mine, theirs] = [flow(of), flow(of)];
    of.linked('one', []);
    of.ended('one', [mine.claim, theirs.claim], false);
    of.linked('one', [theirs.claim.given]);
    of.ended('one', [], false);
    of.linked('one', []);
    assert.deepEqual([mine.said, theirs.said, of.waiting], [[true], [], 1]);
    of.handedIn('one', theirs.claim.given);
    assert.deepEqual([theirs.said, of.waiting], [[false], 0]);
    of.close();
  });

  it('of a link that is replaced wait at once, however long it takes to close', async () => {
    const bed = await LinkBed.open();
    try {
      const { server } = bed;
      const link = (of: FlowClaim[] = []): AgentLink =>
        ({
          agent: 'branch-1',
          greeted: true,
          flows: { takeClaims: () => of.splice(0) },
          end: () => {},
          send: () => false,
        }) as never;
      const hello = {
        kind: 'hello',
        version: '1',
        platform: 'linux',
        arch: 'x64',
        node: '20',
        hostname: 'far',
        clock: now,
      } as never;
      const given = createIdentifier(systemClock());
      const claim = server.claims.open('branch-1', given);
      assert.ok(claim);
      const said: boolean[] = [];
      claim.whenSettled((isOurs) => said.push(isOurs));
      const [old, next] = [link([claim]), link()];
      server.onHello(old, hello);
      server.onHello(next, Object.assign({ takenBack: [given] }, hello));
      assert.deepEqual([said, server.claims.waiting], [[], 1]);
      server.claims.handedIn('branch-1', given);
      server.onClosed(old, 'replaced');
      assert.deepEqual([said, server.claims.waiting], [[false], 0]);
      server.onClosed(next, 'over');
    } finally {
      await bed.close();
    }
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
    let givenUp = 0;
    const onGivenUp = (): void => {
      givenUp += 1;
    };
    const few = claims({ most: 2, onGivenUp });
    const flows = [flow(few), flow(few), flow(few)];
    few.ended(
      'one',
      flows.map(({ claim }) => claim),
      false,
    );
    assert.deepEqual([flows.map(({ said }) => said), few.waiting], [[[true], [], []], 2]);
    few.close();
    assert.equal(givenUp, 1);
    const short = claims({ patienceMs: 5, onGivenUp });
    const { claim } = flow(short);
    short.ended('one', [claim], false);
    const settled = new Promise((resolve) => claim.whenSettled(resolve));
    // Its timer keeps no process alive.
    const alive = setInterval(() => {}, 1000);
    assert.equal(await within(settled, 'it is given up'), true);
    clearInterval(alive);
    assert.deepEqual([short.waiting, givenUp], [0, 2]);
    short.close();
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
