// What an agent keeps of limits that hold no more, while sessions still run under them; what it says it took back.

import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { acceptText } from '../../test/support/configuration-text.ts';
import { systemClock } from '../base/clock.ts';
import { silentLog } from '../base/log.ts';
import type { ArrivedDatagram, FlowStream } from '../relay/arrival.ts';
import type { DatagramRequest } from '../relay/link/link-client-options.ts';
import { AgentHouse, type AgentHouseOptions } from './agent-house.ts';

class Silent extends Duplex implements FlowStream {
  override _read(): void {}
  override _write(_bytes: Buffer, _encoding: BufferEncoding, done: () => void): void {
    done();
  }
  resetAndDestroy(): this {
    return this.destroy();
  }
}

test('limits that change again and again while sessions stay open keep a bounded number of them', async () => {
  const { limits, personas } = acceptText('version: 1\n');
  const [persona] = personas.values();
  const spool = { append: () => true } as unknown as AgentHouseOptions['spool'];
  const link = { openFlow: () => undefined, openDatagrams: () => undefined, state: { state: 'away' } };
  const house = new AgentHouse({
    link: link as unknown as AgentHouseOptions['link'],
    spool,
    certificates: {} as AgentHouseOptions['certificates'],
    limits,
    maxOpen: 1000,
    clock: systemClock,
    log: silentLog,
  });
  const sockets: Silent[] = [];
  const rounds = 30;
  for (let round = 0; round < rounds; round += 1) {
    const socket = new Silent();
    sockets.push(socket);
    house.arrive({
      socket,
      source: { ip: '198.51.100.7', port: 40_000 + round },
      destination: { ip: '192.0.2.9', port: 23 },
      network: '',
      diversion: 'branch',
      persona,
      acceptedAt: systemClock(),
    });
    assert.ok(house.open <= 9, `${house.open} open after ${round + 1}`);
    house.setLimits({ ...limits, sessionBytes: limits.sessionBytes + round + 1 });
  }
  assert.equal(house.open, 8, 'the newest go on');
  assert.equal(house.counters.answeredAlone, rounds);
  await house.close();
});

test('a datagram that comes back is named as taken back when it is a session of its own here, not when it joins one', async () => {
  const { limits, personas } = acceptText('version: 1\n');
  const [persona] = personas.values();
  const ids: string[] = [];
  const spool = {
    append: (event: { kind: string; session?: { id: string } }) => void (event.session && ids.push(event.session.id)),
  } as unknown as AgentHouseOptions['spool'];
  let request: DatagramRequest | undefined;
  let linked = false;
  const link = {
    openFlow: () => undefined,
    openDatagrams: (asked: DatagramRequest) => {
      request = asked;
      return linked ? { send: () => true, close: () => {} } : undefined;
    },
    state: { state: 'away' },
  };
  const house = new AgentHouse({
    link: link as unknown as AgentHouseOptions['link'],
    spool,
    certificates: {} as AgentHouseOptions['certificates'],
    limits,
    maxOpen: 1000,
    clock: systemClock,
    log: silentLog,
  });
  const from = (port: number): ArrivedDatagram => ({
    source: { ip: '198.51.100.7', port },
    destination: { ip: '192.0.2.9', port: 2323 },
    network: '',
    diversion: 'branch',
    persona,
    at: systemClock(),
    payload: Buffer.from('x'),
    onLink: false,
    reply: () => true,
    replyOnLink: () => false,
  });
  house.datagram(from(40_000));
  linked = true;
  house.datagram(from(40_000));
  request?.onEnd();
  assert.deepEqual([house.counters.answeredAlone, house.takenBack], [2, []], 'it joined');
  house.datagram(from(40_001));
  const named = request?.session;
  request?.onEnd();
  assert.deepEqual([house.counters.answeredAlone, house.takenBack], [3, [named]]);
  await house.close();
  assert.equal(ids.includes(named ?? ''), true, 'it is on record under that');
});
