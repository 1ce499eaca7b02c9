// The way of one packet through a machine as it was read: namespaces, links, bridges, rules, routes, until a socket takes it, and the
// answer's way back. Every place is a hop. Pure: nothing is sent; the kernel's own word on routes comes in through `askKernel`.
// What rules do is filter-hop.ts, who hears a frame wire.ts, which route route-decision.ts, the socket socket-hop.ts.

import { type Address, renderAddress } from '../../model/address.ts';
import type { Machine, MachineListener, MachineNamespace } from '../../model/machine.ts';
import type { FilterHook, FilterPacket } from '../../model/packet-filter.ts';
import type { Transport } from '../../model/session.ts';
import { type HookVisit, visitHook } from './filter-hop.ts';
import { type Evidence, type FaultWords, hopOf, seen, type WalkHop } from './hop.ts';
import type { DataLeg } from './mtu-hop.ts';
import { natConflict } from './nat-conflict.ts';
import { contradiction, type KernelRoute } from './route-agreement.ts';
import { decideRoute, isLocalAddress, type RouteDecision, type RouteWish } from './route-decision.ts';
import {
  checkForwarding,
  checkMartian,
  checkReversePath,
  forwards,
  judgeRoute,
  type Leaving,
  localGateway,
} from './route-hop.ts';
import { listenerHop } from './socket-hop.ts';
import { isDown, type Landing, linkNamed, sameAddress } from './wire.ts';
import { crossWire } from './wire-hop.ts';
import { xfrmHop } from './xfrm-hop.ts';

export interface WalkRequest {
  readonly machine: Machine;
  readonly transport: Transport;
  readonly source: Address;
  readonly sourcePort: number;
  readonly destination: Address;
  readonly port: number;
  /** Where the packet begins: made there, or, with `iif`, coming in from outside. */
  readonly start: { readonly namespace: MachineNamespace; readonly iif?: string };
  /** The kernel's own decision, as text, where it may be asked: shown beside ours. */
  readonly askKernel?: (namespace: MachineNamespace, wish: RouteWish) => KernelRoute | undefined;
}

export interface PathWalk {
  readonly hops: readonly WalkHop[];
  /** `delivered`: to a socket; `left`: it goes on where nothing is seen; `stopped`: a hop says why. */
  readonly there: 'delivered' | 'left' | 'stopped';
  readonly back: 'delivered' | 'left' | 'stopped' | 'not-begun';
  readonly listener?: MachineListener;
  readonly server?: MachineNamespace;
  /** As the server sees it, after all that was rewritten. */
  readonly arrived?: FilterPacket;
  /** Namespaces it came through, each once, in order. */
  readonly through: readonly MachineNamespace[];
  /** Devices that data leaves by, in order, there and back. */
  readonly legs: readonly DataLeg[];
  /** By which device it came into a namespace on its way there, by inode. */
  readonly cameBy: ReadonlyMap<string, string>;
}

/** Namespaces one packet may come through: longer is a loop. */
const longestPath = 32;

interface Tracked {
  /** As it came in, and as it went on. */
  readonly before: FilterPacket;
  after: FilterPacket;
  readonly iif?: string;
  /** Who handed it over: the next hop for what goes back. */
  readonly gateway?: Address;
}

export const walkPath = (request: WalkRequest): PathWalk => new Walk(request).run();

class Walk {
  readonly #request: WalkRequest;
  readonly #hops: WalkHop[] = [];
  readonly #tracked = new Map<string, Tracked>();
  readonly #through: MachineNamespace[] = [];
  readonly #legs: DataLeg[] = [];
  #way: 'there' | 'back' = 'there';
  #listener: MachineListener | undefined;
  #server: MachineNamespace | undefined;
  #arrived: FilterPacket | undefined;
  /** What the source asked for, where some namespace rewrote it. */
  #rewritten: { address: Address; port: number } | undefined;
  #tproxy: { address?: Address; port?: number } | undefined;

  constructor(request: WalkRequest) {
    this.#request = request;
  }

  run(): PathWalk {
    const { transport, source, sourcePort, destination, port, start } = this.#request;
    const syn: FilterPacket = {
      family: destination.family,
      protocol: transport,
      source,
      sourcePort,
      destination,
      destinationPort: port,
      mark: 0,
      state: 'new',
      ...(transport === 'tcp' && { tcpFlags: 'syn' }),
      direction: 'original',
    };
    const there =
      start.iif === undefined ? this.#send(start.namespace, syn) : this.#receive(start.namespace, start.iif, syn, undefined);
    let back: PathWalk['back'] = 'not-begun';
    if (there === 'delivered' && this.#server && this.#arrived) back = this.#answer(this.#server, this.#arrived);
    return {
      hops: this.#hops,
      there,
      back,
      through: this.#through,
      legs: this.#legs,
      cameBy: new Map([...this.#tracked].flatMap(([inode, { iif }]) => (iif === undefined ? [] : [[inode, iif] as const]))),
      ...(this.#listener && { listener: this.#listener }),
      ...(this.#server && { server: this.#server }),
      ...(this.#arrived && { arrived: this.#arrived }),
    };
  }

  #answer(server: MachineNamespace, arrived: FilterPacket): PathWalk['back'] {
    this.#way = 'back';
    this.#tproxy = undefined;
    return this.#send(server, {
      ...arrived,
      source: arrived.destination,
      sourcePort: arrived.destinationPort,
      destination: arrived.source,
      destinationPort: arrived.sourcePort,
      inputDevice: undefined,
      outputDevice: undefined,
      originalDestination: undefined,
      mark: 0,
      state: 'established',
      tcpFlags: arrived.protocol === 'tcp' ? 'syn,ack' : undefined,
      direction: 'reply',
    });
  }

  #pass(
    layer: string,
    namespace: MachineNamespace,
    dev: string | undefined,
    detail: string,
    evidence: readonly Evidence[] = [],
  ): void {
    this.#hops.push({ layer, namespace, ...(dev === undefined ? {} : { dev }), way: this.#way, state: 'pass', detail, evidence });
  }

  #fail(
    layer: string,
    namespace: MachineNamespace,
    dev: string | undefined,
    fault: FaultWords,
    evidence: readonly Evidence[] = [],
  ): void {
    this.#hops.push(
      hopOf(
        { namespace, way: this.#way, evidence },
        { layer, ...(dev !== undefined && { dev }), state: 'fail', detail: fault.detail, fault },
      ),
    );
  }

  /** Rules of one hook; the packet as it leaves them. */
  #hook(namespace: MachineNamespace, hook: FilterHook, packet: FilterPacket, bridged?: HookVisit['bridged']): FilterPacket {
    const outcome = visitHook({ namespace, hook, packet, way: this.#way, ...(bridged && { bridged }) });
    this.#hops.push(...outcome.hops);
    if (outcome.tproxy)
      this.#tproxy = {
        ...(outcome.tproxy.address && { address: outcome.tproxy.address }),
        ...(outcome.tproxy.port === undefined ? {} : { port: outcome.tproxy.port }),
      };
    return outcome.packet;
  }

  /** `foreseen`: errors of the kernel that a hop of ours accounts for. */
  #decide(
    namespace: MachineNamespace,
    wish: RouteWish,
    foreseen: readonly string[] = [],
  ): { decision: RouteDecision; evidence: Evidence[] } {
    const decision = decideRoute(namespace, wish);
    const evidence: Evidence[] = [];
    if (decision.kind === 'route') evidence.push(seen(`rule ${decision.rule.text}; route ${decision.route.text}`));
    else if (decision.kind === 'refused')
      evidence.push(seen(`rule ${decision.rule.text}${decision.route ? `; route ${decision.route.text}` : ''}`));
    const kernel = this.#request.askKernel?.(namespace, wish);
    if (kernel) {
      evidence.push({ rung: 'asked the kernel', text: kernel.text });
      const disputed = contradiction(decision, kernel, foreseen);
      if (disputed !== undefined)
        this.#hops.push({
          ...hopOf({ namespace, way: this.#way, evidence }, { layer: 'route', state: 'unknown', detail: disputed }),
          disputed: true,
        });
    }
    return { decision, evidence };
  }

  /** A packet made in a namespace. */
  #send(namespace: MachineNamespace, packet: FilterPacket): 'delivered' | 'left' | 'stopped' {
    if (!this.#enter(namespace)) return 'stopped';
    const wish = { to: packet.destination, from: packet.source, mark: packet.mark };
    // A transparent socket sends from addresses that are nobody's here; asked with one the kernel refuses (FLOWI_FLAG_ANYSRC).
    const foreseen = isLocalAddress(namespace, packet.source) ? [] : ['EINVAL', 'ENETUNREACH'];
    const { decision, evidence } = this.#decide(namespace, wish, foreseen);
    const chosen = this.#route(namespace, packet, decision, evidence);
    if (!chosen) return 'stopped';
    if (chosen.local) return this.#loop(namespace, packet);
    const leaving = { ...packet, outputDevice: chosen.device };
    const sent = this.#hook(namespace, 'output', leaving);
    let way = chosen;
    if (!sameAddress(sent.destination, packet.destination)) {
      this.#pass('nat', namespace, undefined, `rewritten to ${renderAddress(sent.destination)}:${sent.destinationPort}`);
      const again = this.#decide(namespace, { ...wish, to: sent.destination, mark: sent.mark });
      const other = this.#route(namespace, sent, again.decision, again.evidence);
      if (!other) return 'stopped';
      if (other.local) return this.#loop(namespace, sent);
      way = other;
    }
    for (const hop of xfrmHop(namespace, 'out', sent, this.#way)) this.#hops.push(hop);
    const posted = this.#translated(namespace, this.#hook(namespace, 'postrouting', { ...sent, outputDevice: way.device }));
    this.#remember(namespace, packet, posted, undefined, undefined);
    return this.#transmit(namespace, way.device, way.via ?? posted.destination, posted);
  }

  #loop(namespace: MachineNamespace, packet: FilterPacket): 'delivered' | 'left' | 'stopped' {
    const sent = this.#hook(namespace, 'output', { ...packet, outputDevice: 'lo' });
    if (!sameAddress(sent.destination, packet.destination) && !isLocalAddress(namespace, sent.destination)) {
      const { decision, evidence } = this.#decide(namespace, { to: sent.destination, from: sent.source, mark: sent.mark });
      const other = this.#route(namespace, sent, decision, evidence);
      if (!other || other.local) return 'stopped';
      const posted = this.#hook(namespace, 'postrouting', { ...sent, outputDevice: other.device });
      this.#remember(namespace, packet, posted, undefined, undefined);
      return this.#transmit(namespace, other.device, other.via ?? posted.destination, posted);
    }
    const posted = this.#hook(namespace, 'postrouting', sent);
    const received = this.#hook(namespace, 'prerouting', { ...posted, inputDevice: 'lo', outputDevice: undefined });
    this.#remember(namespace, packet, received, 'lo', undefined);
    return this.#deliver(namespace, { ...received, inputDevice: 'lo' });
  }

  /** A packet that comes in by a device. */
  #receive(
    namespace: MachineNamespace,
    iif: string,
    packet: FilterPacket,
    gateway: Address | undefined,
  ): 'delivered' | 'left' | 'stopped' {
    if (!this.#enter(namespace)) return 'stopped';
    const link = linkNamed(namespace, iif);
    // Of what comes in over a wire that was seen, the wire said it already.
    if (link && gateway === undefined && this.#through.length === 1 && isDown(link)) {
      const detail = `${iif} is ${link.up ? `up, but its state is ${link.operstate}: there is no signal` : 'switched off'}`;
      const fault: FaultWords = { id: 'link-down', detail, effect: 'silence', parts: { link } };
      this.#fail('link', namespace, iif, fault, [seen(`${iif}: operstate ${link.operstate}`)]);
    }
    const known = this.#tracked.get(namespace.inode);
    const state = this.#way === 'there' ? packet.state : known ? 'established' : 'invalid';
    let incoming: FilterPacket = {
      ...packet,
      inputDevice: iif,
      outputDevice: undefined,
      mark: 0,
      state,
      connectionMark: known?.after.connectionMark ?? packet.connectionMark,
    };
    if (this.#way === 'there') delete (incoming as { originalDestination?: unknown }).originalDestination;
    const conflict = this.#way === 'there' ? natConflict(namespace, incoming) : undefined;
    const arrived = this.#hook(namespace, 'prerouting', incoming);
    let routed = arrived;
    if (this.#way === 'there') {
      if (!sameAddress(arrived.destination, packet.destination) || arrived.destinationPort !== packet.destinationPort) {
        const detail = `rewritten from ${renderAddress(packet.destination)}:${packet.destinationPort} to ${renderAddress(arrived.destination)}:${arrived.destinationPort}`;
        if (conflict) this.#hops.push(conflict);
        else this.#pass('nat', namespace, iif, detail);
        this.#rewritten ??= { address: packet.destination, port: packet.destinationPort };
        routed = { ...arrived, originalDestination: { address: packet.destination, port: packet.destinationPort } };
      }
    } else if (known && !sameAddress(known.before.source, known.after.source)) {
      // The other half of source NAT: what comes back goes to who was hidden.
      routed = { ...arrived, destination: known.before.source, destinationPort: known.before.sourcePort };
    }
    if (this.#way === 'there') this.#remember(namespace, incoming, routed, iif, gateway);
    incoming = routed;
    const refused = checkMartian(namespace, iif, incoming) ?? checkReversePath(namespace, iif, incoming);
    if (refused) this.#hops.push(hopOf({ namespace, way: this.#way }, refused));
    const foreseen = [
      ...(refused ? ['EINVAL', 'EXDEV'] : []),
      ...(forwards(namespace, iif, incoming) ? [] : ['EHOSTUNREACH', 'ENETUNREACH']),
    ];
    const wish = { to: incoming.destination, from: incoming.source, iif, mark: incoming.mark };
    const { decision, evidence } = this.#decide(namespace, wish, foreseen);
    if (this.#tproxy) return this.#deliver(namespace, incoming);
    const chosen = this.#route(namespace, incoming, decision, evidence, iif);
    if (!chosen) return 'stopped';
    if (chosen.local) return this.#deliver(namespace, incoming);
    const unforwarded = checkForwarding(namespace, iif, incoming, chosen.device);
    if (unforwarded) this.#hops.push(hopOf({ namespace, way: this.#way }, unforwarded));
    const forwarded = this.#hook(namespace, 'forward', { ...incoming, outputDevice: chosen.device });
    for (const hop of xfrmHop(namespace, 'fwd', forwarded, this.#way)) this.#hops.push(hop);
    const posted = this.#translated(
      namespace,
      this.#hook(namespace, 'postrouting', { ...forwarded, outputDevice: chosen.device }),
    );
    if (this.#way === 'there') this.#remember(namespace, { ...packet, inputDevice: iif }, posted, iif, gateway);
    return this.#transmit(namespace, chosen.device, chosen.via ?? posted.destination, posted);
  }

  /** Of what goes back: the address the source knows, where the destination was rewritten on the way there. */
  #translated(namespace: MachineNamespace, packet: FilterPacket): FilterPacket {
    const known = this.#way === 'back' ? this.#tracked.get(namespace.inode) : undefined;
    if (
      !known ||
      (sameAddress(known.before.destination, known.after.destination) &&
        known.before.destinationPort === known.after.destinationPort)
    )
      return packet;
    return { ...packet, source: known.before.destination, sourcePort: known.before.destinationPort };
  }

  #remember(
    namespace: MachineNamespace,
    before: FilterPacket,
    after: FilterPacket,
    iif: string | undefined,
    gateway: Address | undefined,
  ): void {
    if (this.#way === 'back') return;
    const first = this.#tracked.get(namespace.inode);
    if (first) first.after = after;
    else this.#tracked.set(namespace.inode, { before, after, ...(iif && { iif }), ...(gateway && { gateway }) });
  }

  #enter(namespace: MachineNamespace): boolean {
    const visits = this.#hops.filter((hop) => hop.namespace === namespace && hop.way === this.#way).length;
    if (!this.#through.includes(namespace)) this.#through.push(namespace);
    if (this.#through.length <= longestPath && visits < 200) return true;
    this.#fail('route', namespace, undefined, {
      id: 'unexplained',
      detail: 'the packet goes round in a circle',
      effect: 'silence',
    });
    return false;
  }

  /** The device it leaves by, or that it stays; undefined where it ends, which a hop says. */
  #route(
    namespace: MachineNamespace,
    packet: FilterPacket,
    decision: RouteDecision,
    evidence: readonly Evidence[],
    iif?: string,
  ): Leaving | undefined {
    const known = this.#tracked.get(namespace.inode);
    const judged = judgeRoute({
      machine: this.#request.machine,
      namespace,
      packet,
      decision,
      way: this.#way,
      ...(iif !== undefined && { iif }),
      ...(known?.iif && { cameBy: known.iif }),
      ...(known?.gateway && { gateway: known.gateway }),
    });
    this.#hops.push(hopOf({ namespace, way: this.#way, evidence }, judged));
    return judged.leaving;
  }

  /** Out by a device, over the wire, into who hears it. */
  #transmit(
    namespace: MachineNamespace,
    device: string,
    nextHop: Address,
    packet: FilterPacket,
  ): 'delivered' | 'left' | 'stopped' {
    const link = linkNamed(namespace, device);
    if (link) this.#legs.push({ namespace, device, mtu: link.mtu, from: packet.source, to: packet.destination, way: this.#way });
    const { machine } = this.#request;
    const { hops, landing, ended } = crossWire({
      machine,
      namespace,
      device,
      nextHop,
      packet,
      way: this.#way,
      ...(this.#rewritten && { rewritten: this.#rewritten }),
    });
    this.#hops.push(...hops);
    return landing ? this.#land(landing, packet, namespace, device) : (ended ?? 'stopped');
  }

  #land(landing: Landing, packet: FilterPacket, from: MachineNamespace, device: string): 'delivered' | 'left' | 'stopped' {
    for (const { namespace, bridge, from: port, to } of landing.crossings) {
      if (!this.#through.includes(namespace)) this.#through.push(namespace);
      if (port === undefined || to === undefined) continue;
      this.#pass('bridge', namespace, bridge, `${port} to ${to}`);
      const key = `net/bridge/bridge-nf-call-ip${packet.family === 4 ? '' : '6'}tables`;
      const handed = namespace.sysctls[key] === '1';
      const known = this.#tracked.get(namespace.inode);
      const bridged = {
        ...packet,
        state: this.#way === 'there' || known ? packet.state : ('invalid' as const),
        inputDevice: bridge,
        outputDevice: bridge,
        mark: 0,
      };
      const sees = namespace.filter?.chains.some(({ family, base }) => family === 'bridge' && base?.hook === 'forward') ?? false;
      if (handed || sees) {
        this.#remember(namespace, bridged, bridged, bridge, undefined);
        this.#hook(namespace, 'forward', bridged, handed ? 'with-ip' : 'bridge-only');
      }
    }
    // Its questions carry the address it would be answered at: whoever takes that for its own does not answer.
    const asker = linkNamed(from, device)?.addresses.find(
      ({ address, usable }) => usable && address.family === packet.family,
    )?.address;
    if (asker && landing.namespace !== from && isLocalAddress(landing.namespace, asker)) {
      const owner = landing.namespace.links.find(({ addresses }) => addresses.some(({ address }) => sameAddress(address, asker)));
      const learnt = from.neighbours.some(
        ({ state, device: on, mac }) => on === device && mac === landing.link.mac && /REACHABLE|PERMANENT/.test(state),
      );
      if (!learnt) {
        this.#fail('route', landing.namespace, owner?.name ?? landing.link.name, localGateway(asker, owner), [
          seen(`${renderAddress(asker)} on ${owner?.name ?? '?'} here, and on ${device} of who asks`),
        ]);
        return 'stopped';
      }
    }
    return this.#receive(landing.namespace, landing.link.name, packet, asker);
  }

  #deliver(namespace: MachineNamespace, packet: FilterPacket): 'delivered' | 'left' | 'stopped' {
    const received = this.#hook(namespace, 'input', packet);
    for (const hop of xfrmHop(namespace, 'in', received, this.#way)) this.#hops.push(hop);
    if (this.#way === 'back') {
      this.#pass('socket', namespace, packet.inputDevice, 'the answer is there');
      return 'delivered';
    }
    this.#server = namespace;
    this.#arrived = received;
    const { hop, listener } = listenerHop(
      this.#request.machine,
      namespace,
      received,
      this.#tproxy,
      this.#rewritten !== undefined,
    );
    this.#listener = listener;
    this.#hops.push(hop);
    // Nobody listens: the refusal takes the same way back, and may be lost there too.
    return 'delivered';
  }
}
