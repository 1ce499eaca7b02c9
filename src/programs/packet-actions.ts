// Gives the verbs that look at packets the machine they run on: namespaces by name, files, standard input.

import { createReadStream } from 'node:fs';
import { WeirError } from '../base/errors.ts';
import type { PacketActions } from '../cli/packet-actions.ts';
import { compileFilter } from '../kernel/capture/filter-program.ts';
import { createCommandRunner } from '../kernel/command.ts';
import { type FoundNamespace, findNamespaces, selectNamespace } from '../kernel/machine/namespace-finder.ts';
import { type CaptureScreen, runLiveCapture, runOfflineCapture } from '../netops/capture/run-capture.ts';
import { killConnections } from '../netops/kill/kill-connections.ts';
import { readResets } from '../netops/resets/read-resets.ts';
import { watchResets } from '../netops/resets/watch-resets.ts';

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

async function* piecesOf(input: string | Uint8Array): AsyncGenerator<Uint8Array> {
  if (typeof input !== 'string') {
    yield input;
    return;
  }
  try {
    yield* input === '-' ? process.stdin : createReadStream(input, { highWaterMark: 1 << 20 });
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    const denied = code === 'EACCES' || code === 'EPERM';
    throw new WeirError(denied ? 'not-permitted' : 'not-found', `cannot read ${input}: ${code}`, { file: input }, error);
  }
}

const nobody = 65_534;

/** For good: what other people send is not read as root where that can be helped. Descriptors that are open stay. */
function dropPrivileges(): void {
  if (process.getuid?.() !== 0) return;
  process.setgroups?.([]);
  process.setgid?.(nobody);
  process.setuid?.(nobody);
}

export const packetActions: PacketActions = {
  async capture(wish, screen, signal, sessions) {
    const { netns, ...rest } = wish;
    const path = netnsPathOf(netns);
    // Asked before: only root may ask a recorder.
    const asks =
      sessions === undefined
        ? false
        : await sessions().then(
            () => true,
            () => false,
          );
    // Who holds a socket, a ring's next file and a recorder's sessions are for root to ask.
    const keeps = wish.processes || wish.ring !== undefined || asks;
    const watched: CaptureScreen = {
      packet: (line) => screen.packet(line),
      credential: (one) => screen.credential(one),
      listening(interfaces, filters) {
        if (!keeps) dropPrivileges();
        screen.listening(interfaces, filters);
      },
    };
    return runLiveCapture(path === undefined ? rest : { ...rest, netns: path }, watched, signal, asks ? sessions : undefined);
  },
  filterFile: (wish, input, screen, comments) => runOfflineCapture(wish, piecesOf(input), screen, comments),
  async watchResets(wish, onFinding, onListening) {
    const { netns, ...rest } = wish;
    const path = netnsPathOf(netns);
    return watchResets(path === undefined ? rest : { ...rest, netns: path }, onFinding, onListening);
  },
  readResets: (input, expression, onFinding) => readResets(piecesOf(input), expression, onFinding),
  kill: async (options, netns, sshConnection) =>
    killConnections({
      ...options,
      ...(netns === undefined ? {} : { netns: namespaceOf(netns) }),
      ...(sshConnection === undefined ? {} : { sshConnection }),
    }),
  compile: (expression) => compileFilter(createCommandRunner(), expression, 1),
};
