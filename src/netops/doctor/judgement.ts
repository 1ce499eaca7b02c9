// The walk and what a probe met, put together: verdict, confidence, the first cause. Where the two disagree nothing is decided, and both
// are said. Pure.

import type { ConnectOutcome } from '../../kernel/connect-probe.ts';
import type { CauseId, Confidence, DiagnosisVerdict } from '../../model/diagnosis.ts';
import { type Evidence, type Fault, rungs, type WalkHop } from './hop.ts';
import type { PathWalk } from './path-walk.ts';
import type { ProbeRun } from './probe-run.ts';
import { type Meter, signalOf } from './signals.ts';

export interface Judgement {
  readonly verdict: DiagnosisVerdict;
  readonly confidence: Confidence;
  /** The hop whose fault is the cause. */
  readonly cause?: WalkHop;
  /** Seen beside it, for hops by identity. */
  readonly evidence: Map<WalkHop, readonly Evidence[]>;
  /** In words, where walk and probe, or what was read and the kernel, do not agree. */
  readonly disagreement?: string;
  /** Where they do not, if that is one place. */
  readonly at?: WalkHop;
  /** A place where something was counted that others may have moved: the probe repeated would tell. */
  readonly suspect?: { readonly hop: WalkHop; readonly meter: Meter };
}

/** Causes that leave the connection possible. */
const degrading = new Set<CauseId>(['pmtu-blackhole', 'app-abort', 'fw-rate-limit']);
/** What nobody can decide from here, however sure the rest is. */
const undecidable = new Set<CauseId>(['reply-lost-off-host']);

/** Layers that let a packet by or do not: where one was not read, nothing is foretold. */
const deciding: ReadonlySet<string> = new Set(['filter', 'cgroup', 'xfrm', 'socket']);

const firstFault = (hops: readonly WalkHop[], fits: (fault: Fault) => boolean): WalkHop | undefined =>
  hops.find(({ fault }) => fault !== undefined && fits(fault));

export function judge(walk: PathWalk, hops: readonly WalkHop[], run: ProbeRun | undefined): Judgement {
  return disputing(
    hops,
    run ? (run.transport === 'udp' ? judgeDatagram(walk, hops, run) : judgeProbe(walk, hops, run)) : judgeWalk(walk, hops),
  );
}

/** What was concluded behind a place where the kernel contradicts the tables holds only where it was seen happening. */
function disputing(hops: readonly WalkHop[], judgement: Judgement): Judgement {
  const at = hops.find(({ disputed }) => disputed);
  const { cause, confidence, evidence, disagreement } = judgement;
  if (!at || confidence === 'proven' || (cause && hops.indexOf(cause) < hops.indexOf(at))) return judgement;
  const found = disagreement ?? cause?.fault?.detail;
  return {
    verdict: 'inconclusive',
    confidence: 'unknown',
    evidence,
    at,
    disagreement: `${at.detail}; what is behind that may be another way${found === undefined ? '' : ` (by what was read: ${found})`}`,
  };
}

/** What stops a frame stops questions for neighbours too: a router then says that nobody is there. */
const belowAddresses: ReadonlySet<string> = new Set(['link', 'neighbour', 'qdisc', 'bridge']);

/** What a probe may meet of a fault. A refusal, and what routers say, may get lost further on: that is for whoever looks at the hops. */
const meets: Readonly<Record<Fault['effect'], ReadonlySet<ConnectOutcome['result']>>> = {
  silence: new Set(['timeout']),
  refused: new Set(['refused', 'unreachable']),
  unreachable: new Set(['unreachable', 'timeout', 'denied', 'failed']),
  stall: new Set(['connected']),
};

/** What errors of connecting may be made of a router's word: EACCES of `administratively prohibited`, ENOPROTOOPT of `protocol unreachable`. */
const wordOfICMP = ({ layer }: WalkHop, { id, effect }: Fault): boolean =>
  layer === 'filter' && effect === 'refused' && id !== 'fw-reject-rst';

/**
 * What is dropped where it is made may come back to whoever sent it: EPERM of a policy, and of a rule where it is a datagram; ENOBUFS of a queue.
 * TCP keeps the latter two to itself. Source: net/xfrm/xfrm_policy.c, ip_send_skb(), tcp_connect().
 */
function comesBackAtOnce(hops: readonly WalkHop[], cause: WalkHop, { effect, parts }: Fault, { transport }: ProbeRun): boolean {
  if (effect !== 'silence' || cause.way !== 'there' || cause.namespace !== hops[0]?.namespace) return false;
  if (cause.layer === 'xfrm') return true;
  if (transport !== 'udp') return false;
  return cause.layer === 'qdisc' || (cause.layer === 'filter' && (parts.hook === 'output' || parts.hook === 'postrouting'));
}

/** Whether a probe's end is what these hops foretell, the cause being the first of them. */
function foretells(hops: readonly WalkHop[], cause: WalkHop, fault: Fault, run: ProbeRun): boolean {
  const { effect } = fault;
  const [{ result }] = run.attempts;
  if (meets[effect].has(result)) return true;
  if (result === 'denied' || result === 'failed') return wordOfICMP(cause, fault) || comesBackAtOnce(hops, cause, fault, run);
  if (effect === 'silence' && result === 'unreachable')
    return belowAddresses.has(cause.layer) || cause.fault?.id === 'gateway-ip-is-local';
  const loses = ({ fault, way }: WalkHop): boolean =>
    way === 'back' && fault?.certain === true && (fault.effect === 'silence' || fault.effect === 'unreachable');
  return effect === 'refused' && result === 'timeout' && hops.slice(hops.indexOf(cause) + 1).some(loses);
}

function judgeWalk(walk: PathWalk, hops: readonly WalkHop[]): Judgement {
  const evidence = new Map<WalkHop, readonly Evidence[]>();
  const sure = firstFault(hops, ({ certain }) => certain);
  const maybe = firstFault(hops, () => true);
  if (maybe?.fault && (!sure?.fault || hops.indexOf(maybe) < hops.indexOf(sure))) {
    // Something that may strike stands before what surely does.
    if (sure?.fault && !degrading.has(sure.fault.id))
      return { verdict: 'unreachable', confidence: 'predicted', cause: sure, evidence };
    return { verdict: 'inconclusive', confidence: 'predicted', cause: maybe, evidence };
  }
  if (sure?.fault) {
    const { id } = sure.fault;
    const verdict = undecidable.has(id) ? 'inconclusive' : degrading.has(id) ? 'degraded' : 'unreachable';
    return { verdict, confidence: 'predicted', cause: sure, evidence };
  }
  const whole = walk.there !== 'stopped' && walk.back !== 'stopped' && walk.listener !== undefined;
  const known = hops.every(({ state }) => state === 'pass' || state === 'not-measured');
  const read = hops.every(({ state, layer }) => state !== 'not-measured' || !deciding.has(layer));
  if (whole && known && read)
    // What was not seen is no proof of anything: outside this machine nobody looked.
    return {
      verdict: walk.back === 'left' || walk.there === 'left' ? 'inconclusive' : 'reachable',
      confidence: 'predicted',
      evidence,
    };
  return { verdict: 'inconclusive', confidence: 'unknown', evidence };
}

function describe({ transport, attempts, injected }: ProbeRun): string {
  if (transport === 'udp') return describeDatagram(attempts[0]);
  if (injected) {
    const [{ result, ms }] = attempts;
    const how =
      result === 'connected'
        ? `answered by ${injected.answeredBy} after ${ms} ms`
        : result === 'refused'
          ? `refused by ${injected.answeredBy} after ${ms} ms`
          : `not answered in ${ms} ms`;
    return `a SYN as if from the source, in by ${injected.by}: ${how}`;
  }
  const [first] = attempts;
  const last = attempts.at(-1);
  const then = first.ending === 'reset' ? ', then was reset' : first.ending === 'closed' ? ', then was closed' : '';
  const bytes = first.receivedBytes > 0 ? `, ${first.receivedBytes} bytes came` : '';
  const words =
    first.result === 'connected'
      ? `connected after ${first.ms} ms${then}${bytes}`
      : first.result === 'timeout'
        ? `no answer in ${first.ms} ms`
        : `${first.result} after ${first.ms} ms${first.errno ? ` (${first.errno})` : ''}`;
  return last && last !== first && last.result !== 'connected' ? `${words}; attempt ${attempts.length}: ${last.result}` : words;
}

function describeDatagram({ result, ms, receivedBytes, errno }: ConnectOutcome): string {
  if (result === 'connected') return `a datagram was answered after ${ms} ms, ${receivedBytes} bytes`;
  if (result === 'timeout') return `a datagram got neither an answer nor a refusal in ${ms} ms: open, or filtered`;
  return `a datagram was ${result === 'refused' ? 'refused (ICMP port unreachable)' : result} after ${ms} ms${errno ? ` (${errno})` : ''}`;
}

/** Counters of what programs took from their sockets; proc(5), snmp and snmp6. */
const taken = ['Udp.InDatagrams', 'Udp6InDatagrams'];

/** Silence is what an open port, a program that is not spoken to in its words, and a filter have in common: it decides nothing. */
function judgeDatagram(walk: PathWalk, hops: readonly WalkHop[], run: ProbeRun): Judgement {
  const probed = judgeProbe(walk, hops, run);
  if (run.attempts[0].result !== 'timeout' || probed.confidence === 'proven') return probed;
  if (probed.cause) return probed.confidence === 'observed' ? { ...probed, confidence: 'predicted' } : probed;
  const foretold = judgeWalk(walk, hops);
  if (foretold.verdict !== 'reachable') return probed;
  const told: Evidence = { rung: rungs.probe, text: describe(run) };
  const socket = hops.find(({ layer, way }) => layer === 'socket' && way === 'there');
  const { repeated } = run;
  if (socket && repeated?.hop === socket && repeated.exact)
    return {
      verdict: 'reachable',
      confidence: 'observed',
      evidence: new Map([[socket, [told, { rung: rungs.counters, text: `a program took it (${repeated.text})` }]]]),
    };
  const growth = (walk.server && run.growth.get(walk.server.inode)) ?? {};
  const name = taken.find((counter) => (growth[counter] ?? 0) > 0);
  return {
    verdict: 'inconclusive',
    confidence: 'unknown',
    evidence: new Map(socket ? [[socket, [told]]] : []),
    disagreement: `by what was read it arrives; ${describe(run)}${droppedMeanwhile(run)}`,
    ...(socket && name && !repeated && { suspect: { hop: socket, meter: { kind: 'counter', name } } }),
  };
}

/** An answer to a SYN of ours that went out by another link: whether it finds the source is not seen from here. */
const leftElsewhere = ({ injected }: ProbeRun): string | undefined =>
  injected?.answeredBy === undefined ||
  injected.answeredBy === (injected.master ?? injected.by) ||
  injected.answeredBy === injected.by
    ? undefined
    : `a SYN that came in by ${injected.by} is answered by ${injected.answeredBy}: whether the source gets an answer that takes another way is not seen from here`;

function droppedMeanwhile({ drops }: ProbeRun): string {
  const places = [...new Set(drops.map(({ reason, location }) => `${reason ?? 'no reason'} at ${location}`))].slice(0, 3);
  return places.length === 0 ? '' : `; packets dropped on this machine meanwhile, of whatever flow: ${places.join(', ')}`;
}

/** What reading alone foretold where it found nothing wrong; its sight may have ended before the way did. */
const foundNothing = (walk: PathWalk, hops: readonly WalkHop[]): string =>
  judgeWalk(walk, hops).verdict === 'reachable'
    ? 'by what was read it must work'
    : 'nothing that was read stops it, but not all of its way could be seen';

function judgeProbe(walk: PathWalk, hops: readonly WalkHop[], run: ProbeRun): Judgement {
  const evidence = new Map<WalkHop, readonly Evidence[]>();
  const told: Evidence = { rung: rungs.probe, text: describe(run) };
  const note = (hop: WalkHop, more: readonly Evidence[]): void => void evidence.set(hop, [told, ...more]);
  const [first] = run.attempts;
  const failed = run.attempts.find(({ result }) => result !== 'connected');
  const blocking = (fault: Fault): boolean => fault.certain && !degrading.has(fault.id);

  if (first.result === 'connected') {
    const limit = firstFault(hops, ({ id }) => id === 'fw-rate-limit');
    if (failed && limit) {
      note(limit, signalOf(limit, run).evidence);
      return { verdict: 'degraded', confidence: 'proven', cause: limit, evidence };
    }
    const conflict = firstFault(hops, ({ id }) => id === 'nat-backend-conflict');
    if (conflict) {
      note(conflict, []);
      return { verdict: 'degraded', confidence: 'predicted', cause: conflict, evidence };
    }
    const against = firstFault(hops, blocking);
    if (against?.fault) {
      note(against, []);
      return {
        verdict: 'inconclusive',
        confidence: 'unknown',
        cause: against,
        evidence,
        disagreement: `by what was read it must fail (${against.fault.detail}), but the probe ${describe(run)}`,
      };
    }
    const abort = firstFault(hops, ({ id }) => id === 'app-abort');
    if (abort && first.ending === 'reset') {
      const signal = signalOf(abort, run);
      note(abort, signal.evidence);
      return { verdict: 'degraded', confidence: signal.strong ? 'proven' : 'observed', cause: abort, evidence };
    }
    const stall = firstFault(hops, ({ id }) => id === 'pmtu-blackhole');
    if (stall?.fault) {
      const again = [...run.growth.values()].find(
        (grown) => (grown['Tcp.RetransSegs'] ?? 0) > 0 || (grown['TcpExt.TCPLossProbes'] ?? 0) > 0,
      );
      const stalled = again !== undefined && first.receivedBytes === 0;
      note(
        stall,
        stalled ? [{ rung: rungs.counters, text: 'connected, nothing came, and what was sent had to be sent again' }] : [],
      );
      const verdict = stalled || stall.fault.certain ? 'degraded' : 'inconclusive';
      return { verdict, confidence: stalled ? 'observed' : 'predicted', cause: stall, evidence };
    }
    if (first.ending === 'reset')
      return {
        verdict: 'degraded',
        confidence: 'observed',
        evidence,
        disagreement: `${foundNothing(walk, hops)}; the probe ${describe(run)}; nothing told who reset it`,
      };
    const elsewhere = leftElsewhere(run);
    if (elsewhere !== undefined) return { verdict: 'inconclusive', confidence: 'unknown', evidence, disagreement: elsewhere };
    return { verdict: 'reachable', confidence: run.injected ? 'observed' : 'proven', evidence };
  }

  // A refusal lost on its way back looks like silence: what comes first on the way is the cause all the same.
  const refusing = (fault: Fault): boolean => first.result !== 'refused' || fault.effect === 'refused';
  const cause =
    firstFault(hops, (fault) => blocking(fault) && refusing(fault)) ??
    firstFault(hops, (fault) => fault.certain && !degrading.has(fault.id));
  if (cause?.fault) {
    const signal = signalOf(cause, run);
    note(cause, signal.evidence);
    if (undecidable.has(cause.fault.id))
      return { verdict: 'inconclusive', confidence: signal.fits ? 'observed' : 'predicted', cause, evidence };
    if (!foretells(hops, cause, cause.fault, run))
      return {
        verdict: 'inconclusive',
        confidence: 'unknown',
        cause,
        evidence,
        disagreement: `by what was read it must end otherwise (${cause.fault.detail}), but the probe got: ${describe(run)}`,
      };
    const { strong, fits, meter } = signal;
    const suspect = !strong && meter && { hop: cause, meter };
    return {
      verdict: 'unreachable',
      confidence: strong ? 'proven' : fits ? 'observed' : 'predicted',
      cause,
      evidence,
      ...(suspect && { suspect }),
    };
  }
  // Nothing sure: what may strike is the cause where the kernel counted or told that it did, and nowhere else.
  const possible = hops.filter(({ fault }) => fault !== undefined);
  const struck =
    possible.find((hop) => signalOf(hop, run).strong) ??
    possible.find(({ evidence }) => evidence.some(({ rung }) => rung === rungs.trace));
  if (struck?.fault) {
    const signal = signalOf(struck, run);
    note(struck, signal.evidence);
    const verdict = undecidable.has(struck.fault.id) ? 'inconclusive' : 'unreachable';
    return { verdict, confidence: signal.strong ? 'proven' : 'observed', cause: struck, evidence };
  }
  if (possible.length > 0) {
    const [suspect] = possible.flatMap((hop) => {
      const { meter, evidence: more } = signalOf(hop, run);
      if (more.length > 0) note(hop, more);
      return meter ? [{ hop, meter }] : [];
    });
    const might = possible.flatMap(({ fault }) => fault?.detail ?? []).join('; ');
    return {
      verdict: 'inconclusive',
      confidence: 'unknown',
      evidence,
      ...(suspect && { suspect }),
      disagreement: `the probe got: ${describe(run)}; nothing shows that what may strike did (${might})${droppedMeanwhile(run)}`,
    };
  }
  return {
    verdict: 'inconclusive',
    confidence: 'unknown',
    evidence,
    disagreement: `${foundNothing(walk, hops)}; the probe got: ${describe(run)}${droppedMeanwhile(run)}`,
  };
}
