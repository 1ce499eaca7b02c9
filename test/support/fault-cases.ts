// The faults of the catalogue as data: how each is staged, what heals it, and what `weir doctor` has to say of it. Those of packet
// filters are fault-cases-filter.ts, those of routes fault-cases-route.ts; what answers or does not is here.

import { attachDenyingProgram } from './cgroup-deny.ts';
import { dockerRules } from './docker-rules.ts';
import { container, type FaultCase, neighbour, noRules, otherClient, server } from './fault-case.ts';
import { filterCases } from './fault-cases-filter.ts';
import { routeCases } from './fault-cases-route.ts';

const serviceCases: readonly FaultCase[] = [
  {
    number: '1',
    cause: 'service-not-listening',
    verdict: 'unreachable',
    hop: { at: 'server', layer: 'socket' },
    contrast: { from: neighbour, verdict: 'unreachable' },
    listening: [],
    healedListening: [server()],
    stage: [],
    heal: [],
    fix: 'advice',
  },
  {
    number: '2',
    cause: 'service-bound-loopback',
    verdict: 'unreachable',
    hop: { at: 'server', layer: 'socket' },
    contrast: { from: neighbour, verdict: 'unreachable' },
    listening: [server('127.0.0.1')],
    healedListening: [server()],
    stage: [],
    heal: [],
    fix: 'advice',
    says: /127\.0\.0\.1/,
  },
  {
    number: '3',
    cause: 'service-v6only',
    verdict: 'unreachable',
    hop: { at: 'server', layer: 'socket' },
    contrast: { from: neighbour, verdict: 'unreachable' },
    listening: [server('[::]')],
    healedListening: [server('[::]'), server()],
    stage: [],
    heal: [],
    fix: 'advice',
  },
  {
    number: '16',
    cause: 'dnat-target-down',
    verdict: 'unreachable',
    hop: { at: 'server', layer: 'neighbour' },
    contrast: { from: neighbour, verdict: 'unreachable' },
    listening: [container()],
    stage: [['server', dockerRules({ target: '172.18.0.9' })]],
    heal: [noRules, ['server', dockerRules()]],
    fix: 'advice',
    says: /172\.18\.0\.9/,
  },
  {
    number: '17',
    cause: 'dnat-target-not-listening',
    verdict: 'unreachable',
    hop: { at: 'container', layer: 'socket' },
    contrast: { from: neighbour, verdict: 'unreachable' },
    listening: [container('127.0.0.1')],
    healedListening: [container()],
    stage: [['server', dockerRules()]],
    heal: [],
    fix: 'advice',
    says: /127\.0\.0\.1/,
  },
  {
    number: '18',
    cause: 'accept-queue-full',
    verdict: 'unreachable',
    hop: { at: 'server', layer: 'socket' },
    contrast: { from: neighbour, verdict: 'unreachable' },
    listening: [server('0.0.0.0', 'full')],
    healedListening: [server()],
    stage: [],
    heal: [],
    fix: 'advice',
  },
  {
    number: '22',
    cause: 'cgroup-bpf-deny',
    confidence: 'observed',
    verdict: 'unreachable',
    hop: { at: 'server', layer: 'cgroup' },
    contrast: { from: otherClient, verdict: 'reachable' },
    listening: [],
    healedListening: [server()],
    stage: [],
    heal: [],
    more: attachDenyingProgram,
    fix: 'advice',
  },
  {
    number: '32',
    cause: 'app-abort',
    foretold: false,
    verdict: 'degraded',
    hop: { at: 'server', layer: 'application' },
    contrast: { from: neighbour, verdict: 'degraded' },
    listening: [server('0.0.0.0', 'abort')],
    healedListening: [server()],
    stage: [],
    heal: [],
    fix: 'advice',
  },
];

/** In the order of the catalogue. */
export const faultCases: readonly FaultCase[] = [...serviceCases, ...filterCases, ...routeCases].sort(
  (a, b) => Number.parseFloat(a.number) - Number.parseFloat(b.number),
);
