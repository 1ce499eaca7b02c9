// One `weir capture`: packets of the wire or of a file, through an expression, to lines, a pcapng file or credentials. Ends by itself;
// says what it could not see. The command line and its words are cli/capture.ts.

import type { Readable } from 'node:stream';
import type { Micros } from '../../base/clock.ts';
import type { FilterProgram } from '../../kernel/capture/filter-program.ts';
import { linkTypeName } from '../../kernel/capture/filter-program.ts';
import { CredentialFinder, type SeenCredential } from '../credentials/credential-finder.ts';
import { CaptureFiles, type FileMaker, type RingShape } from './capture-files.ts';
import { FlowNotes, type SessionKey } from './flow-notes.ts';
import { type CaptureAccount, type CaptureEnd, type CaptureLimits, LiveCapture } from './live-capture.ts';
import { filterCapture } from './offline-capture.ts';
import { describeFrame, viewPacket } from './packet-view.ts';
import { type PacketEnds, SocketHolders } from './socket-holders.ts';

export interface CaptureWish {
  readonly expression: string;
  /** Empty: every interface of the namespace. */
  readonly interfaces: readonly string[];
  /** Path of a network namespace. */
  readonly netns?: string;
  readonly limits: CaptureLimits;
  readonly promiscuous: boolean;
  readonly snap?: number;
  /** Where packets are kept; without it they are told. */
  readonly file?: string;
  readonly ring?: RingShape;
  /** Look for credentials shown in the clear instead of telling packets. */
  readonly credentials: boolean;
  /** Ask who of this machine a flow belongs to, and write it beside its packet. */
  readonly processes: boolean;
  /** `weir 1.2.3`. */
  readonly application: string;
}

export interface PacketLine {
  readonly at: Micros;
  readonly interface?: string;
  readonly outgoing?: boolean;
  readonly wireLength: number;
  /** Of nothing but our own words. */
  readonly text: string;
  readonly comments: readonly string[];
}

export interface CaptureScreen {
  packet(line: PacketLine): void;
  credential(one: SeenCredential): void;
  /** It listens from now on. */
  listening(interfaces: readonly string[], filters: readonly FilterProgram[]): void;
}

export interface CaptureOutcome {
  readonly packets: number;
  readonly matched: number;
  readonly credentials: number;
  readonly files: readonly string[];
  /** Packets in files the ring removed. */
  readonly overwritten: number;
  readonly filters: readonly FilterProgram[];
  /** Of a live capture. */
  readonly account?: CaptureAccount;
  /** Of a file: packets that could not be judged, by reason. */
  readonly bad?: Readonly<Record<string, number>>;
  /** Of a file that was not read to its end: the limit that was reached. */
  readonly ended?: CaptureEnd;
  /** What should stand beside packets and could not be asked, in words. */
  readonly notMeasured: readonly string[];
  /** What was not seen was not there, and what should stand beside packets does. */
  readonly complete: boolean;
}

/** Sessions Weir recorded lately, asked for now and then; rejects where no Weir runs. */
export type SessionSource = () => Promise<readonly SessionKey[]>;

/** What a capture asks of others that may have more privilege than packets are read with; by default this process does it. */
export interface CaptureHelp {
  readonly sessions?: SessionSource;
  /** Who of this machine holds a flow, in words. */
  readonly holderOf?: (ends: PacketEnds) => string | undefined;
  readonly maker?: FileMaker;
}

const sessionsEveryMs = 500;

const openFiles = (wish: CaptureWish, comments: readonly string[], maker?: FileMaker): CaptureFiles | undefined =>
  wish.file === undefined
    ? undefined
    : new CaptureFiles({
        file: wish.file,
        application: wish.application,
        comments,
        ...(maker === undefined ? {} : { maker }),
        ...(wish.ring === undefined ? {} : { ring: wish.ring }),
      });

function notesOf(wish: CaptureWish, { holderOf }: CaptureHelp): FlowNotes {
  if (!wish.processes) return new FlowNotes();
  const own = new SocketHolders(wish.netns);
  return new FlowNotes(holderOf ?? ((ends) => own.describe(ends)));
}

const describePrograms = (filters: readonly FilterProgram[]): string[] =>
  filters.map(
    ({ expression, linkType, hash, instructions }) =>
      `filter "${expression}" for ${linkTypeName(linkType)}: ${instructions.length} instructions, sha256 ${hash}`,
  );

/** Needs CAP_NET_RAW. Throws as LiveCapture.open and CaptureFiles do. */
export async function runLiveCapture(
  wish: CaptureWish,
  screen: CaptureScreen,
  signal?: AbortSignal,
  help: CaptureHelp = {},
): Promise<CaptureOutcome> {
  const { sessions } = help;
  const capture = await LiveCapture.open({ ...wish, ...(signal === undefined ? {} : { signal }) });
  let files: CaptureFiles | undefined;
  let asking: NodeJS.Timeout | undefined;
  const notes = notesOf(wish, help);
  const known = new Map<string, SessionKey>();
  let credentials = 0;
  try {
    files = openFiles(wish, describePrograms(capture.filters), help.maker);
    const on = capture.interfaces;
    for (const { interface: name, linkType } of on) files?.addInterface({ name, linkType, filter: wish.expression });
    const finder = new CredentialFinder((one) => {
      credentials += 1;
      screen.credential(one);
    });
    const ask = async (): Promise<void> => {
      try {
        for (const one of (await sessions?.()) ?? []) {
          notes.addSession(one);
          if (known.size < 10_000) known.set(one.id, one);
        }
      } catch {
        // No Weir runs, or it is busy: packets are kept without.
      }
      asking = setTimeout(() => void ask(), sessionsEveryMs).unref();
    };
    if (sessions) void ask();
    screen.listening(
      on.map(({ interface: name }) => name),
      capture.filters,
    );
    const account = await capture.run((frame, number) => {
      const { bytes, start, end, wireLength, at, outgoing } = frame;
      const { linkType } = on[number];
      if (wish.credentials) finder.frame(bytes, start, end, linkType, at);
      if (!files && wish.credentials) return;
      const comments = wish.processes || sessions ? notes.commentsOf(viewPacket(bytes, start, end, linkType), outgoing) : [];
      if (files) files.packet({ interface: number, at, bytes: bytes.subarray(start, end), wireLength, outgoing, comments });
      else {
        const text = describeFrame(bytes, start, end, linkType, wireLength);
        screen.packet({ at, interface: on[number].interface, outgoing, wireLength, text, comments });
      }
    });
    const now = Date.now() * 1000;
    const untold = [...known.values()].filter(({ id }) => !notes.toldSessions.has(id));
    for (const [number, { received, dropped }] of account.interfaces.entries())
      files?.statistics(number, now, received, dropped, number === 0 ? untold.slice(0, 500).map(describeSession) : []);
    return {
      packets: account.packets,
      matched: account.packets,
      credentials,
      files: files?.files ?? [],
      overwritten: files?.overwritten ?? 0,
      filters: account.filters,
      account,
      notMeasured: notes.notMeasured,
      complete: account.complete && notes.notMeasured.length === 0,
    };
  } finally {
    clearTimeout(asking);
    capture.close();
    files?.close();
  }
}

const describeSession = ({ id, transport, source, sourcePort, destination, destinationPort }: SessionKey): string =>
  `weir session ${id}: ${transport} from ${source} port ${sourcePort} to ${destination} port ${destinationPort}`;

/**
 * The same over a capture file; of the limits the time is no matter. `signal`: what was read until then counts. Throws `bad-request` (the
 * expression), and as CaptureFiles does.
 */
export async function runOfflineCapture(
  wish: CaptureWish,
  input: Readable | AsyncIterable<Uint8Array>,
  screen: CaptureScreen,
  comments: readonly string[] = [],
  signal?: AbortSignal,
  { maker }: CaptureHelp = {},
): Promise<CaptureOutcome> {
  let files: CaptureFiles | undefined;
  let credentials = 0;
  let packets = 0;
  let bytesKept = 0;
  let ended: CaptureEnd | undefined;
  const { limits, snap = Number.POSITIVE_INFINITY } = wish;
  const numbers = new Map<number, number>();
  const finder = new CredentialFinder((one) => {
    credentials += 1;
    screen.credential(one);
  });
  try {
    const account = await filterCapture(input, wish.expression, (frame, stop) => {
      const { bytes, start, at, wireLength, linkType } = frame;
      const end = Math.min(frame.end, start + snap);
      packets += 1;
      bytesKept += end - start;
      if (packets >= limits.packets) ended = 'packets';
      else if (bytesKept >= limits.bytes) ended = 'size';
      if (ended) stop();
      if (wish.credentials) finder.frame(bytes, start, end, linkType, at);
      if (wish.file !== undefined) {
        // Not before something matches: a wrong file name must not empty another.
        files ??= openFiles(wish, [`packets that match "${wish.expression}"`], maker) as CaptureFiles;
        let number = numbers.get(linkType);
        if (number === undefined) {
          number = files.addInterface({ name: linkTypeName(linkType), linkType, filter: wish.expression });
          numbers.set(linkType, number);
        }
        files.packet({
          interface: number,
          at,
          bytes: bytes.subarray(start, end),
          wireLength,
          comments: files.packets === 0 ? comments : [],
        });
      } else if (!wish.credentials)
        screen.packet({ at, wireLength, text: describeFrame(bytes, start, end, linkType, wireLength), comments: [] });
    });
    // The input ends where it was stopped.
    if (signal?.aborted) ended ??= 'stopped';
    return {
      ...account,
      credentials,
      files: files?.files ?? [],
      overwritten: files?.overwritten ?? 0,
      ...(ended === undefined ? {} : { ended }),
      notMeasured: [],
      complete: ended === undefined && Object.keys(account.bad).length === 0,
    };
  } finally {
    files?.close();
  }
}
