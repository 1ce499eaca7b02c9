// Gives the verbs that look at packets the machine they run on: namespaces by name, files, standard input. Whatever needs root is opened first:
// packets are read as nobody, and what needs root meanwhile is asked of packet-helper.ts.

import { open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { WeirError } from '../base/errors.ts';
import type { PacketActions } from '../cli/packet-actions.ts';
import { RecorderReader } from '../cli/reader.ts';
import { compileFilter } from '../kernel/capture/filter-program.ts';
import { createCommandRunner } from '../kernel/command.ts';
import { type FoundNamespace, findNamespaces, selectNamespace } from '../kernel/machine/namespace-finder.ts';
import { type DropOptions, dropPrivileges } from '../kernel/privileges.ts';
import { type CaptureHelp, type CaptureScreen, runLiveCapture, runOfflineCapture } from '../netops/capture/run-capture.ts';
import { killConnections } from '../netops/kill/kill-connections.ts';
import { readResets } from '../netops/resets/read-resets.ts';
import { watchResets } from '../netops/resets/watch-resets.ts';
import { openPacketHelper } from './packet-questions.ts';
import { recordedSessions } from './recorded-sessions.ts';

/** A namespace as typed. Throws `not-found`. */
function namespaceOf(wanted: string): FoundNamespace {
  const found = selectNamespace(findNamespaces().namespaces, wanted);
  if (!found)
    throw new WeirError('not-found', `there is no network namespace ${wanted}`, { next: '`ip netns` lists those with names' });
  return found;
}

/** Undefined for the one this process is in. */
const netnsPathOf = (wanted: string | undefined): string | undefined =>
  wanted === undefined ? undefined : namespaceOf(wanted).path;

function unreadable(file: string, error: unknown): WeirError {
  const { code = '' } = error as NodeJS.ErrnoException;
  const denied = code === 'EACCES' || code === 'EPERM';
  return new WeirError(denied ? 'not-permitted' : 'not-found', `cannot read ${file}: ${code}`, { file }, error);
}

/** Opened when this resolves; read later, maybe with less privilege. It ends early where `signal` fires. */
async function openPieces(input: string | Uint8Array, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
  if (typeof input !== 'string') return Readable.from([input]);
  let stream: Readable = process.stdin;
  if (input !== '-')
    try {
      stream = (await open(input)).createReadStream({ highWaterMark: 1 << 20 });
    } catch (error) {
      throw unreadable(input, error);
    }
  return piecesOf(stream, input, signal);
}

async function* piecesOf(stream: Readable, file: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const stop = (): void => void stream.destroy();
  signal.addEventListener('abort', stop);
  try {
    if (!signal.aborted) yield* stream;
  } catch (error) {
    if (!signal.aborted) throw unreadable(file, error);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

const isRoot = (): boolean => process.geteuid?.() === 0;

const otherwise = 'or add CAP_SETUID and CAP_SETGID; a user namespace has to map uid and gid 65534';
const ofWire: DropOptions = { next: `run it as another user that has CAP_NET_RAW, ${otherwise}` };
const ofFile: DropOptions = { next: `run it as another user that may read the file, ${otherwise}` };

export const packetActions: PacketActions = {
  async capture(wish, screen, signal, recorder) {
    const { netns: typed, ...rest } = wish;
    const { file, ring, processes } = rest;
    const netns = netnsPathOf(typed);
    const place = netns === undefined ? {} : { netns };
    // Only root may ask a recorder, and there may be none.
    const sessions = recorder === undefined ? undefined : recordedSessions(new RecorderReader(recorder));
    const asks = recorder !== undefined && (await sessions?.().catch(() => undefined)) !== undefined;
    const inRing = ring !== undefined;
    const helper =
      isRoot() && (processes || inRing || asks)
        ? await openPacketHelper({
            ...place,
            processes,
            ...(ring && file !== undefined ? { files: { file, ringFiles: ring.files } } : {}),
            ...(asks ? { recorder } : {}),
          })
        : undefined;
    const watched: CaptureScreen = {
      packet: (line) => screen.packet(line),
      credential: (one) => screen.credential(one),
      listening(interfaces, filters) {
        dropPrivileges(ofWire);
        screen.listening(interfaces, filters);
      },
    };
    const help: CaptureHelp = {
      ...(asks && sessions ? { sessions: helper?.sessions ?? sessions } : {}),
      ...(helper ? { holderOf: helper.holderOf } : {}),
      ...(helper && inRing ? { maker: helper.maker } : {}),
    };
    try {
      return await runLiveCapture({ ...rest, ...place }, watched, signal, help);
    } finally {
      await helper?.close();
    }
  },
  async filterFile(wish, input, screen, comments, signal) {
    const pieces = await openPieces(input, signal);
    const { file, ring } = wish;
    const files = file === undefined ? undefined : { file, ...(ring ? { ringFiles: ring.files } : {}) };
    const helper = isRoot() && files ? await openPacketHelper({ files }) : undefined;
    try {
      // Another half that keeps root would be asked by one that has it too.
      dropPrivileges({ ...ofFile, orNoCapability: helper === undefined });
      return await runOfflineCapture(wish, pieces, screen, comments, signal, helper ? { maker: helper.maker } : {});
    } finally {
      await helper?.close();
    }
  },
  async watchResets(wish, onFinding, onListening) {
    const { netns: typed, ...rest } = wish;
    const netns = netnsPathOf(typed);
    const place = netns === undefined ? {} : { netns };
    const helper = isRoot() ? await openPacketHelper({ ...place, resets: true }) : undefined;
    const listening = (interfaces: readonly string[]): void => {
      dropPrivileges(ofWire);
      onListening(interfaces);
    };
    return watchResets({ ...rest, ...place }, onFinding, listening, helper?.facts);
  },
  async readResets(input, expression, onFinding, signal) {
    const pieces = await openPieces(input, signal);
    dropPrivileges({ ...ofFile, orNoCapability: true });
    return readResets(pieces, expression, onFinding);
  },
  kill: async (options, netns, sshConnection) =>
    killConnections({
      ...options,
      ...(netns === undefined ? {} : { netns: namespaceOf(netns) }),
      ...(sshConnection === undefined ? {} : { sshConnection }),
    }),
  compile: (expression) => compileFilter(createCommandRunner(), expression, 1),
};
