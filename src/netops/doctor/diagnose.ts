// `weir doctor --from .. --to ..`: reads the machine, walks the packet and its answer, probes where asked, and says what is wrong, how sure that is,
// and the smallest fix. Changes nothing; a probe makes connections of its own.

import { WeirError } from '../../base/errors.ts';
import { routeGet } from '../../kernel/machine/route-get.ts';
import { type Address, renderAddress } from '../../model/address.ts';
import type { Diagnosis, DiagnosisHop } from '../../model/diagnosis.ts';
import type { Machine, MachineLink, MachineNamespace } from '../../model/machine.ts';
import { askBanEnd } from './ban-end.ts';
import { cgroupHops } from './cgroup-hop.ts';
import { denialHop } from './denial-hop.ts';
import { planFixes } from './fixes.ts';
import { type FaultWords, hopOf, nameOf, rungs, type WalkHop } from './hop.ts';
import { runInject } from './inject-run.ts';
import { type Judgement, judge } from './judgement.ts';
import { mtuHops } from './mtu-hop.ts';
import { type PathWalk, type WalkRequest, walkPath } from './path-walk.ts';
import { type ProbeRun, runProbe } from './probe-run.ts';
import { readConnected, withFilters } from './reading.ts';
import { rejectFixes } from './rejected-fixes.ts';
import type { KernelRoute } from './route-agreement.ts';
import { decideRoute, isLocalAddress, type RouteWish } from './route-decision.ts';
import { sameAddress } from './wire.ts';

export interface DiagnosisWish {
  readonly source: Address;
  readonly destination: Address;
  readonly port: number;
  /** A name of /run/netns, a path, an inode or `pid:123`; undefined: the namespace this process is in. */
  readonly netns?: string;
  /** By which device it comes in, where its namespace is not on this machine; else it is guessed from the addresses. */
  readonly iif?: string;
  readonly probe: boolean;
  /** A SYN of ours at `iif`, where the source cannot be entered. */
  readonly inject?: boolean;
  /** Of fail2ban, where it is not in its usual place. */
  readonly fail2banSocket?: string;
}

/** A port no rule is likely to name, where the probe's own is not known yet. */
const anySourcePort = 49_152;

/** A diagnosis and what it stands on, for who goes on from there (contrast, tried fixes). */
export interface DiagnosisRun {
  readonly diagnosis: Diagnosis;
  readonly machine: Machine;
}

export async function diagnose(
  wish: DiagnosisWish,
  read: () => Promise<Machine> = () => readConnected(wish.netns),
): Promise<DiagnosisRun> {
  let machine = await read();
  if (!machine.namespaces[0])
    throw new WeirError('not-permitted', 'the network namespace could not be read', { unseen: machine.unseen });
  if (wish.source.family !== wish.destination.family)
    throw new WeirError('bad-request', 'source and destination must both be IPv4 or both IPv6');
  const notMeasured = machine.unseen.map(
    ({ what, why, netns }) => `${what}${netns ? ` of ${spaceNamed(machine, netns)}` : ''}: ${why}`,
  );
  let walked = walkIn(machine, wish);
  // Rules may send it elsewhere: walked again until those of every place it comes by were read.
  for (let round = 0; round < mostRounds; round += 1) {
    const lacking = walked.walk.through.filter(({ filter }) => filter === undefined);
    if (lacking.length === 0) break;
    machine = await withFilters(machine, lacking);
    walked = walkIn(machine, wish);
  }
  const { home, start, request, walk } = walked;
  if (start.assumed) notMeasured.push(start.assumed);
  const hops = withMore(machine, walk);
  const denied = denialHop(hops, wish.port);
  if (denied.hop) hops.push(denied.hop);
  if (denied.notMeasured !== undefined) notMeasured.push(denied.notMeasured);
  for (const { filter, ...namespace } of walk.through)
    for (const text of filter?.unreadable ?? []) notMeasured.push(`${text} (${nameOf(namespace)})`);
  let run: ProbeRun | undefined;
  const through = walk.through.includes(home) ? walk.through : [...walk.through, home];
  const { source, destination, port } = wish;
  const probing = { namespace: start.namespace, source, destination, port, through, hops };
  if (wish.probe && start.iif === undefined) run = await runProbe(probing);
  else if (wish.inject) {
    const link = injectionLink(machine, home, start, walk);
    if (link) run = await runInject({ ...probing, ...link });
    else notMeasured.push('a packet of its own: no link here would bring it in');
  } else if (wish.probe)
    notMeasured.push(
      `the probe: ${renderAddress(source)} is in no namespace that can be entered from here; --inject hands the kernel a packet of its own`,
    );
  else notMeasured.push(`a live probe: ${start.iif === undefined ? '--probe' : '--inject'}`);
  if (run) {
    notMeasured.push(...run.notMeasured);
    hops.push(...toldByProbe(walk, hops, run));
  }
  const judgement = judge(walk, hops, run);
  const banned = judgement.cause?.fault?.id === 'banned' ? judgement.cause : undefined;
  const jail = banned?.fault?.parts.jail;
  if (banned && jail !== undefined && banned.fault?.parts.expires === undefined) {
    const end = await askBanEnd(jail, renderAddress(source), wish.fail2banSocket);
    if (end) judgement.evidence.set(banned, [...(judgement.evidence.get(banned) ?? []), end]);
    else notMeasured.push(`when the ban ends: fail2ban-client did not say`);
  }
  return { diagnosis: assemble(wish, machine, home, request, walk, hops, judgement, notMeasured), machine };
}

/** Places one packet comes by are found one behind the other. */
const mostRounds = 16;

function walkIn(
  machine: Machine,
  wish: DiagnosisWish,
): { home: MachineNamespace; start: Start; request: WalkRequest; walk: PathWalk } {
  const [home] = machine.namespaces;
  const start = startOf(machine, home, wish);
  const request: WalkRequest = {
    machine,
    source: wish.source,
    sourcePort: anySourcePort,
    destination: wish.destination,
    port: wish.port,
    start,
    askKernel,
  };
  return { home, start, request, walk: walkPath(request) };
}

function assemble(
  wish: DiagnosisWish,
  machine: Machine,
  home: MachineNamespace,
  request: WalkRequest,
  walk: PathWalk,
  hops: readonly WalkHop[],
  { verdict, confidence, cause, evidence, disagreement, at }: Judgement,
  notMeasured: readonly string[],
): Diagnosis {
  const shown = hops.map(
    (hop, index): DiagnosisHop => ({
      n: index + 1,
      layer: hop.layer,
      netns: nameOf(hop.namespace),
      ...(hop.dev !== undefined && { dev: hop.dev }),
      state: hop.state,
      detail: `${hop.way === 'back' ? 'back: ' : ''}${hop.detail}`,
      evidence: [...hop.evidence, ...(evidence.get(hop) ?? [])],
    }),
  );
  const bad = cause?.fault && verdict !== 'reachable';
  return {
    flow: {
      proto: 'tcp',
      src: renderAddress(wish.source),
      dst: renderAddress(wish.destination),
      dport: wish.port,
      netns: nameOf(home),
    },
    verdict,
    confidence,
    ...(bad && cause.fault
      ? {
          cause: {
            id: cause.fault.id,
            layer: cause.layer,
            hop: hops.indexOf(cause) + 1,
            detail: disagreement ?? cause.fault.detail,
          },
        }
      : verdict !== 'reachable' && disagreement
        ? {
            cause: {
              id: 'unexplained' as const,
              layer: at?.layer ?? 'unknown',
              hop: at ? hops.indexOf(at) + 1 : hops.length,
              detail: disagreement,
            },
          }
        : {}),
    hops: shown,
    fix: bad ? planFixes(machine, cause) : [],
    rejected_fixes: bad ? rejectFixes(request, walk, cause) : [],
    not_measured: [...new Set(notMeasured)],
  };
}

const spaceNamed = (machine: Machine, inode: string): string => {
  const found = machine.namespaces.find((namespace) => namespace.inode === inode);
  return found ? nameOf(found) : `net:[${inode}]`;
};

interface Start {
  readonly namespace: MachineNamespace;
  readonly iif?: string;
  readonly assumed?: string;
}

/** Where the source is: a namespace that has the address, the nearest first; else a device of the one asked in. */
function startOf(machine: Machine, home: MachineNamespace, { source, destination, iif }: DiagnosisWish): Start {
  if (iif !== undefined) {
    if (!home.links.some(({ name }) => name === iif))
      throw new WeirError('not-found', `there is no link ${iif} in ${nameOf(home)}`);
    return { namespace: home, iif };
  }
  const owner = machine.namespaces.find(({ links }) =>
    links.some(({ addresses }) => addresses.some(({ address }) => sameAddress(address, source))),
  );
  if (owner) return { namespace: owner };
  if (source.value >> (source.family === 4 ? 24n : 0n) === (source.family === 4 ? 127n : 1n)) return { namespace: home };
  const near = home.links.find(
    ({ addresses, name }) => name !== 'lo' && addresses.some(({ address }) => sameAddress(address, destination)),
  );
  const outward = home.routes.find(
    ({ prefixLength, family, type }) => prefixLength === 0 && family === source.family && type === 'unicast',
  );
  const back = decideRoute(home, { to: source });
  const guess =
    (isLocalAddress(home, destination) && near && near.kind !== 'bridge' ? near.name : undefined) ??
    outward?.hops[0]?.device ??
    (back.kind === 'route' ? back.device : undefined) ??
    home.links.find(({ name, up }) => name !== 'lo' && up)?.name;
  if (guess === undefined)
    throw new WeirError('not-found', `no link of ${nameOf(home)} could bring anything from ${renderAddress(source)}`);
  return {
    namespace: home,
    iif: guess,
    assumed: `what is before ${guess}: ${renderAddress(source)} is not on this machine, and it is assumed to come in there (--iif says otherwise)`,
  };
}

/** Where a packet of ours goes in: by the link it is assumed to come in by, else where the walk says it enters the namespace asked in. */
function injectionLink(
  machine: Machine,
  home: MachineNamespace,
  start: Start,
  walk: PathWalk,
): { namespace: MachineNamespace; iif: MachineLink } | undefined {
  const name =
    start.iif ?? walk.hops.find(({ namespace, dev, layer }) => namespace === home && layer === 'route' && dev !== undefined)?.dev;
  const iif = home.links.find((link) => link.name === name);
  return iif && machine.namespaces.includes(home) ? { namespace: home, iif } : undefined;
}

function askKernel({ path }: MachineNamespace, wish: RouteWish): KernelRoute | undefined {
  const words = `ip route get ${renderAddress(wish.to)}${wish.from ? ` from ${renderAddress(wish.from)}` : ''}${wish.iif ? ` iif ${wish.iif}` : ''}${wish.mark ? ` mark ${wish.mark}` : ''}`;
  try {
    const answer = routeGet(path, wish);
    if (answer.kind === 'none') return { text: `${words}: ${answer.errno}`, outcome: { kind: 'error', errno: answer.errno } };
    const { route, device = '?', via } = answer;
    const outcome =
      route.type === 'local' ? ({ kind: 'local' } as const) : { kind: 'device' as const, device, ...(via && { via }) };
    return { text: `${words}: ${route.text}`, outcome };
  } catch {
    return undefined;
  }
}

/** What the path alone does not say: programs of the listener's cgroup, and the sizes of packets. */
function withMore(machine: Machine, walk: PathWalk): WalkHop[] {
  const hops = [...walk.hops];
  if (walk.listener && walk.server && walk.arrived) {
    const at = hops.findIndex(({ layer, way }) => layer === 'socket' && way === 'there');
    hops.splice(at + 1, 0, ...cgroupHops(machine, walk.server, walk.listener, walk.arrived));
  }
  const whole = walk.back === 'delivered' || walk.back === 'left';
  if (whole)
    hops.push(
      ...mtuHops(walk.legs.filter(({ way }) => way === 'there')),
      ...mtuHops(walk.legs.filter(({ way }) => way === 'back')),
    );
  return hops;
}

/** What only shows while a connection is made. */
function toldByProbe(walk: PathWalk, hops: readonly WalkHop[], run: ProbeRun): WalkHop[] {
  const [first] = run.attempts;
  const server = walk.server;
  if (!server) return [];
  if (first.result === 'connected' && first.ending === 'reset') {
    const growth = run.growth.get(server.inode) ?? {};
    const told = run.resets.find(({ reason }) => reason === 'TCP_ABORT_ON_CLOSE');
    const counted = (growth['TcpExt.TCPAbortOnClose'] ?? 0) > 0;
    if (!told && !counted) return [];
    const who = told?.inTask ? `${told.comm} (pid ${told.pid})` : 'the program';
    const detail = `connected, then reset: ${who} closed the connection without reading what had come`;
    return [
      hopOf(
        { namespace: server, way: 'there' },
        {
          layer: 'application',
          state: 'fail',
          detail,
          evidence: told
            ? [{ rung: rungs.trace, text: `tcp_send_reset: ${told.reason}, state ${told.state ?? '?'}, comm ${told.comm}` }]
            : [],
          fault: { id: 'app-abort', detail, effect: 'stall', parts: {} },
        },
      ),
    ];
  }
  const [ending] = run.endings;
  if (first.result !== 'connected' && ending && !hops.some(({ fault }) => fault)) {
    const namespace = walk.through.find(({ inode }) => inode === ending.inode) ?? server;
    const place = `${ending.family} ${ending.table} ${ending.chain}`;
    const detail = `the rules as they were read let it pass, but nft's trace saw it end in ${place}: ${ending.text}`;
    const fault: FaultWords = { id: 'fw-rule-drop', detail, effect: 'silence', certain: false };
    return [
      hopOf(
        { namespace, way: 'there' },
        { layer: 'filter', state: 'fail', detail, evidence: [{ rung: rungs.trace, text: detail }], fault },
      ),
    ];
  }
  const denied = run.drops.find(({ reason }) => reason === 'BPF_CGROUP_EGRESS' || reason === 'BPF_CGROUP_INGRESS');
  if (first.result === 'timeout' && denied && !hops.some(({ fault }) => fault?.certain)) {
    const detail = `a BPF program of a cgroup drops it: ${denied.reason} at ${denied.location}`;
    return [
      hopOf(
        { namespace: server, way: 'there' },
        {
          layer: 'cgroup',
          state: 'fail',
          detail,
          evidence: [{ rung: rungs.trace, text: detail }],
          fault: { id: 'cgroup-bpf-deny', detail, effect: 'silence', certain: false },
        },
      ),
    ];
  }
  return [];
}
