// `weir doctor --from .. --to ..`: reads the machine, walks the packet and its answer, probes where asked, and says what is wrong, how sure that is,
// and the smallest fix. Changes nothing; a probe makes connections of its own.

import { WeirError } from '../../base/errors.ts';
import { routeGet } from '../../kernel/machine/route-get.ts';
import { type Address, renderAddress } from '../../model/address.ts';
import type { Diagnosis, DiagnosisHop } from '../../model/diagnosis.ts';
import type { Machine, MachineLink, MachineNamespace } from '../../model/machine.ts';
import type { Transport } from '../../model/session.ts';
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
import { repeatProbe } from './repeat-probe.ts';
import type { KernelRoute } from './route-agreement.ts';
import type { RouteWish } from './route-decision.ts';
import { sameOutcome } from './same-outcome.ts';
import { optionsFor, placeWords, type StartPlace, startPlaces } from './start-place.ts';
import { sameAddress } from './wire.ts';

export interface DiagnosisWish {
  /** Default: TCP. */
  readonly transport?: Transport;
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
  let walks = walksFrom(machine, wish);
  // Rules may send it elsewhere: walked again until those of every place it comes by were read.
  for (let round = 0; round < mostRounds; round += 1) {
    const lacking = new Set(walks.flatMap(({ walk }) => walk.through).filter(({ filter }) => filter === undefined));
    if (lacking.size === 0) break;
    machine = await withFilters(machine, [...lacking]);
    walks = walksFrom(machine, wish);
  }
  const [home] = machine.namespaces;
  const [{ start, request, walk }] = walks;
  const ambiguity = differing(machine, walks);
  if (start.assumed) notMeasured.push(start.assumed);
  const hops = withMore(machine, walk);
  const denied = denialHop(hops, wish.port);
  if (denied.hop) hops.push(denied.hop);
  if (denied.notMeasured !== undefined) notMeasured.push(denied.notMeasured);
  for (const { filter, ...namespace } of walk.through)
    for (const text of filter?.unreadable ?? []) notMeasured.push(`${text} (${nameOf(namespace)})`);
  let run: ProbeRun | undefined;
  const through = walk.through.includes(home) ? walk.through : [...walk.through, home];
  const { transport = 'tcp', source, destination, port } = wish;
  const seenAs = walk.arrived?.source;
  const alsoAs = seenAs && !sameAddress(seenAs, source) ? [seenAs] : [];
  const probing = { transport, namespace: start.namespace, source, destination, port, through, hops, alsoAs };
  if (ambiguity !== undefined) notMeasured.push('a live probe: it would tell of one of these ways alone');
  else if (wish.probe && start.iif === undefined) run = await runProbe(probing);
  else if (wish.inject && transport === 'udp') notMeasured.push('a packet of its own: it makes those of TCP alone');
  else if (wish.inject) {
    const iif = injectionLink(home, start, walk);
    if (typeof iif === 'string') notMeasured.push(`a packet of its own: ${iif}`);
    else run = await runInject({ ...probing, namespace: home, iif });
  } else if (wish.probe)
    notMeasured.push(
      `the probe: ${renderAddress(source)} is in no namespace that can be entered from here; --inject hands the kernel a packet of its own`,
    );
  else notMeasured.push(`a live probe: ${start.iif === undefined ? '--probe' : '--inject'}`);
  if (run) {
    notMeasured.push(...run.notMeasured);
    hops.push(...toldByProbe(walk, hops, run));
  }
  const judgement: Judgement =
    ambiguity === undefined
      ? await judgeSurely(walk, hops, run)
      : { verdict: 'inconclusive', confidence: 'unknown', evidence: new Map(), disagreement: ambiguity };
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

/** What was only counted, whoever's it was, is looked at once more. */
async function judgeSurely(walk: PathWalk, hops: readonly WalkHop[], run: ProbeRun | undefined): Promise<Judgement> {
  const judgement = judge(walk, hops, run);
  const { suspect } = judgement;
  if (!run?.again || !suspect) return judgement;
  return judge(walk, hops, { ...run, repeated: await repeatProbe(run.again, suspect) });
}

interface Walked {
  readonly start: StartPlace;
  readonly request: WalkRequest;
  readonly walk: PathWalk;
}

/** From every place where it may begin, the likeliest first. */
function walksFrom(machine: Machine, wish: DiagnosisWish): readonly [Walked, ...Walked[]] {
  const walks = startPlaces(machine, machine.namespaces[0], wish).map((start): Walked => {
    const { transport = 'tcp', source, destination, port } = wish;
    const request = { machine, transport, source, sourcePort: anySourcePort, destination, port, start, askKernel };
    return { start, request, walk: walkPath(request) };
  });
  return walks as [Walked, ...Walked[]];
}

/** In words, where it matters by which of several ways it comes: nothing read here tells which one it is. */
function differing(machine: Machine, walks: readonly Walked[]): string | undefined {
  const told = walks.map(({ start, walk }) => {
    const { verdict, cause } = judge(walk, withMore(machine, walk), undefined);
    return {
      start,
      outcome: `${verdict}${cause?.fault ? `, ${cause.fault.id} (${cause.fault.detail})` : ''}`,
      verdict,
      ...(cause && { cause }),
    };
  });
  const [first, ...others] = told;
  const same = others.every((other) => sameOutcome(machine, first, other));
  const { unwalked = 0 } = first.start;
  if (same && unwalked === 0) return undefined;
  const ways = told.map(({ start, outcome }) => `${placeWords(start)}: ${outcome}`).join('; ');
  const more = unwalked === 0 ? '' : `; ${unwalked} more namespaces have that address and were not looked at`;
  return `it is not known which way it comes, and that ${same ? 'may decide' : 'decides'}: ${ways}${more}; say ${optionsFor(walks.map(({ start }) => start))}`;
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
      proto: wish.transport ?? 'tcp',
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

/** Where a packet of ours goes in: by the link the real one comes in by; in words why there is none. */
function injectionLink(home: MachineNamespace, start: StartPlace, walk: PathWalk): MachineLink | string {
  if (start.namespace === home && start.iif === undefined)
    return 'the source is of this namespace itself, and nothing comes in with its address; --probe connects from it';
  const name = start.iif ?? walk.cameBy.get(home.inode);
  return home.links.find((link) => link.name === name) ?? 'it does not come by this namespace';
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
  // How large datagrams are is their program's matter.
  if (whole && walk.arrived?.protocol !== 'udp')
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
