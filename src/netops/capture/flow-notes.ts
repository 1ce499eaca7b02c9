// What is written beside the packets of a capture: which process of this machine a flow belongs to, and which session Weir made of it.
// Asked at most every so often, kept for a bounded number of flows; each flow is told once.

import { printable } from '../../base/printable.ts';
import { RecencyMap } from '../../base/recency-map.ts';
import { readProcess } from '../../kernel/machine/process-reader.ts';
import { readConnections } from '../../kernel/machine/socket-diag.ts';
import { readSocketOwners, type SocketOwners } from '../../kernel/machine/socket-owners.ts';
import { renderAddress } from '../../model/address.ts';
import type { PacketView } from './packet-view.ts';

/** A session Weir recorded, as far as packets can be told to be of it. */
export interface SessionKey {
  readonly id: string;
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  readonly transport: string;
}

const maxFlows = 16_384;
const socketsEveryMs = 500;
const ownersEveryMs = 3000;
/** Beyond it a machine's sockets are not read for the sake of a remark. */
const maxSockets = 50_000;

interface Told {
  process: boolean;
  session: boolean;
}

const keyOf = (transport: string, ip: string, port: number, otherIp: string, otherPort: number): string =>
  `${transport} ${ip} ${port} ${otherIp} ${otherPort}`;

export class FlowNotes {
  readonly #netns: string | undefined;
  readonly #processes: boolean;
  readonly #told = new RecencyMap<string, Told>();
  readonly #sessions = new RecencyMap<string, string>();
  #sockets = new Map<string, number>();
  #owners: SocketOwners | undefined;
  #socketsAt = Number.NEGATIVE_INFINITY;
  #ownersAt = Number.NEGATIVE_INFINITY;
  /** Sessions that were told beside a packet. */
  readonly toldSessions = new Set<string>();

  /** `processes`: also who of this machine holds a flow; needs root for other users' processes. */
  constructor(processes: boolean, netns?: string) {
    this.#processes = processes;
    this.#netns = netns;
  }

  addSession({ id, source, sourcePort, destination, destinationPort, transport }: SessionKey): void {
    for (const key of [
      keyOf(transport, source, sourcePort, destination, destinationPort),
      keyOf(transport, destination, destinationPort, source, sourcePort),
    ])
      this.#sessions.set(key, id);
    while (this.#sessions.size > 2 * maxFlows && this.#sessions.oldest) this.#sessions.delete(this.#sessions.oldest[0]);
  }

  /** What has not been told of this packet's flow yet. */
  commentsOf(view: PacketView | undefined): string[] {
    if (view?.sourcePort === undefined || view.destinationPort === undefined) return [];
    const transport = view.protocol === 6 ? 'tcp' : 'udp';
    const key = keyOf(transport, view.source, view.sourcePort, view.destination, view.destinationPort);
    const back = keyOf(transport, view.destination, view.destinationPort, view.source, view.sourcePort);
    const flow = key < back ? key : back;
    const told = this.#told.get(flow) ?? { process: !this.#processes, session: false };
    const comments: string[] = [];
    if (!told.process) {
      told.process = true;
      const process = this.#tryProcessOf(transport, view);
      if (process !== undefined) comments.push(process);
    }
    const session = told.session ? undefined : this.#sessions.get(key);
    if (session !== undefined) {
      told.session = true;
      this.toldSessions.add(session);
      comments.push(`weir session ${session}`);
    }
    this.#told.set(flow, told);
    while (this.#told.size > maxFlows && this.#told.oldest) this.#told.delete(this.#told.oldest[0]);
    return comments;
  }

  /** A remark is not worth a packet: what cannot be asked is not told. */
  #tryProcessOf(transport: 'tcp' | 'udp', view: PacketView): string | undefined {
    try {
      return this.#processOf(transport, view);
    } catch {
      return undefined;
    }
  }

  #processOf(
    transport: 'tcp' | 'udp',
    { source, sourcePort = 0, destination, destinationPort = 0 }: PacketView,
  ): string | undefined {
    const now = performance.now();
    const names = [
      keyOf(transport, source, sourcePort, destination, destinationPort),
      keyOf(transport, destination, destinationPort, source, sourcePort),
      // A connection that is only asked for is its listener's.
      `${transport} ${destination} ${destinationPort}`,
      `${transport} * ${destinationPort}`,
      `${transport} ${source} ${sourcePort}`,
    ];
    const find = (): number | undefined => names.map((name) => this.#sockets.get(name)).find((inode) => inode !== undefined);
    let inode = find();
    if (inode === undefined && now - this.#socketsAt > socketsEveryMs) {
      this.#socketsAt = now;
      this.#readSockets();
      this.#socketsAt = performance.now();
      inode = find();
    }
    if (inode === undefined || inode === 0) return undefined;
    if (this.#owners === undefined || (this.#owners.of(inode).length === 0 && now - this.#ownersAt > ownersEveryMs)) {
      this.#owners = readSocketOwners();
      this.#ownersAt = performance.now();
    }
    const [holder] = this.#owners.of(inode);
    const process = holder && readProcess(holder.pid);
    if (!process) return undefined;
    const container = process.container ? `, container ${process.container.name ?? process.container.id.slice(0, 12)}` : '';
    return `process ${printable(process.comm, 40)}, pid ${process.pid}, uid ${process.uid}${container}`;
  }

  #readSockets(): void {
    const sockets = new Map<string, number>();
    for (const one of readConnections(this.#netns, { limit: maxSockets }).sockets) {
      const local = renderAddress(one.local);
      if (one.remotePort !== 0)
        sockets.set(keyOf(one.transport, local, one.localPort, renderAddress(one.remote), one.remotePort), one.inode);
      else {
        sockets.set(`${one.transport} ${local} ${one.localPort}`, one.inode);
        if (one.local.value === 0n) sockets.set(`${one.transport} * ${one.localPort}`, one.inode);
      }
    }
    this.#sockets = sockets;
  }
}
