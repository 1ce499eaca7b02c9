// Who answers what arrives: the bound service, or the catch-all; and whom it hits when descriptors run out.

import assert from 'node:assert/strict';
import test from 'node:test';
import { acceptText } from '../../test/support/configuration-text.ts';
import type { Arrival, ArrivedDatagram } from '../relay/arrival.ts';
import { Arrivals, type ArrivalsOptions } from './arrivals.ts';

const configuration = acceptText(`version: 1
diversions:
  - { name: dmz, kind: host, interface: eth0, decoys: [{ addresses: 10.66.0.0/24, persona: nas }] }
services:
  - { name: web, kind: external, address: "10.1.0.9:80" }
  - { name: dns, kind: external, address: "10.1.0.9:53" }
bindings:
  - { diversion: dmz, ports: [80], service: web }
  - { diversion: dmz, addresses: [10.66.0.9], ports: [80], service: catch-all }
  - { diversion: dmz, ports: [53], protocol: udp, service: dns }
`);

function stage(open: { caught?: number; relayed?: number } = {}): { arrivals: Arrivals; told: string[] } {
  const told: string[] = [];
  const { caught = 0, relayed = 0 } = open;
  const options = {
    catchAll: {
      visit: () => told.push('caught'),
      datagram: () => told.push('caught'),
      shedOldestIdle: (count: number) => {
        told.push(`caught shed ${count}`);
        return count;
      },
      sessionsOpen: caught,
    },
    relay: {
      visit: (_: unknown, { name }: { name: string }) => told.push(name),
      datagram: (_: unknown, { name }: { name: string }) => told.push(name),
      shedOldestIdle: (count: number) => {
        told.push(`relayed shed ${count}`);
        return Math.min(count, relayed);
      },
      sessionsOpen: relayed,
    },
    sessions: 2048,
  } as unknown as ArrivalsOptions;
  const arrivals = new Arrivals(options);
  arrivals.setServices(configuration.relayedServices, configuration.relayBindings);
  return { arrivals, told };
}

const socket = { on: () => socket, resetAndDestroy: () => {} };
const arrival = (port: number, more: Partial<Arrival> = {}): Arrival =>
  ({ diversion: 'dmz', destination: { ip: '10.66.0.5', port }, socket, ...more }) as unknown as Arrival;
const datagram = (port: number, more: object = {}): ArrivedDatagram =>
  ({ diversion: 'dmz', destination: { ip: '10.66.0.5', port }, ...more }) as unknown as ArrivedDatagram;

test('the most specific binding answers, else the catch-all', () => {
  const { arrivals, told } = stage();
  arrivals.connection(arrival(80));
  arrivals.connection(arrival(81));
  arrivals.connection(arrival(53));
  arrivals.connection(arrival(80, { destination: { ip: '10.66.0.9', port: 80 } }));
  arrivals.connection(arrival(80, { diversion: 'other' }));
  arrivals.datagram(datagram(53));
  arrivals.datagram(datagram(54));
  arrivals.datagram(datagram(53, { group: '224.0.0.251' }));
  assert.deepEqual(told, ['web', 'caught', 'caught', 'caught', 'caught', 'dns', 'caught', 'caught']);
});

test('the hop before says which service it wants, and one that is not here is refused', () => {
  const { arrivals, told } = stage();
  let reset = 0;
  const stream = { on: () => stream, resetAndDestroy: () => (reset += 1) };
  arrivals.connection(arrival(9999, { service: 'web' }));
  arrivals.connection(arrival(80, { service: 'gone', socket: stream as unknown as Arrival['socket'] }));
  arrivals.datagram(datagram(80, { service: 'gone' }));
  assert.deepEqual(told, ['web']);
  assert.equal(reset, 1);
  assert.deepEqual(arrivals.counters, { unknownServices: 2 });
});

test('a new configuration counts from the next arrival on', () => {
  const { arrivals, told } = stage();
  arrivals.setServices([], []);
  arrivals.connection(arrival(80));
  assert.deepEqual(told, ['caught']);
});

test('descriptors are asked back where they are', () => {
  const shed = (caught: number, relayed: number): string[] => {
    const { arrivals, told } = stage({ caught, relayed });
    arrivals.shed(64);
    return told;
  };
  assert.deepEqual(shed(1000, 0), ['relayed shed 0', 'caught shed 64']);
  assert.deepEqual(shed(0, 1000), ['relayed shed 32']);
  assert.deepEqual(shed(1000, 500), ['relayed shed 16', 'caught shed 32']);
  assert.deepEqual(shed(1000, 1), ['relayed shed 0', 'caught shed 64']);
});

test('the bound on sessions is of both together, and the kind that has more of them gives', () => {
  const told = (caught: number, relayed: number): string[] => {
    const { arrivals, told: said } = stage({ caught, relayed });
    arrivals.connection(arrival(80));
    return said;
  };
  assert.deepEqual(told(1024, 1023), ['web']);
  assert.deepEqual(told(1025, 1023), ['caught shed 8', 'web']);
  assert.deepEqual(told(1000, 1048), ['relayed shed 8', 'web']);
});
