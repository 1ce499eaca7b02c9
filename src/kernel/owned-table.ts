// A table of nft that belongs to a process of ours and goes with it, however that ends: nothing is left when we are killed. For what must be in the
// rules only while we look.
// Source: nft(8), table flag `owner`. Linux 5.12, nftables 0.9.9.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { createCommandRunner } from './command.ts';
import { runNftInProcess } from './nft-library.ts';

const environment = { PATH: '/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C' };
const readyWithinMs = 2000;
const askEveryMs = 10;
const mostWords = 4000;

let made = 0;

/** A program in a namespace, with pipes; its errors are for whoever listens. */
export function startInside(netns: string | undefined, argv: readonly string[]): ChildProcessWithoutNullStreams {
  const [program, ...rest] = netns === undefined ? argv : ['nsenter', `--net=${netns}`, '--', ...argv];
  const child = spawn(program, rest, { env: environment });
  child.on('error', () => {});
  child.stdin.on('error', () => {});
  return child;
}

export function endProgram(child: ChildProcessWithoutNullStreams): Promise<void> {
  return new Promise((resolve) => {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return resolve();
    child.once('close', () => resolve());
    child.kill('SIGKILL');
  });
}

/** Asks until it holds; throws `timeout`. */
export async function within(what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + readyWithinMs;
  while (!(await holds())) {
    if (performance.now() > end) throw new WeirError('timeout', `not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, askEveryMs));
  }
}

export interface OwnedTable {
  /** Idempotent; when it resolves the table is gone. */
  close(): Promise<void>;
}

/**
 * A table of family inet with base chains, each `{hook, rules}` at priority -350, before everything else. Needs CAP_NET_ADMIN. Throws `timeout` with
 * nft's words where it refuses; nothing is left then.
 */
export async function holdTable(
  netns: string | undefined,
  chains: readonly { readonly hook: 'prerouting' | 'output'; readonly rules: readonly string[] }[],
): Promise<OwnedTable> {
  made += 1;
  const name = `weir-doctor-${process.pid}-${made}`;
  const holder = startInside(netns, ['nft', '-i']);
  let words = '';
  for (const stream of [holder.stdout, holder.stderr])
    stream.on('data', (bytes: Buffer) => {
      words = (words + bytes.toString()).slice(-mostWords);
    });
  const lines = [`add table inet ${name} { flags owner; }`];
  for (const { hook, rules } of chains) {
    lines.push(`add chain inet ${name} ${hook} { type filter hook ${hook} priority -350; }`);
    for (const rule of rules) lines.push(`add rule inet ${name} ${hook} ${rule}`);
  }
  // The last thing made shows that all before it is there.
  lines.push(`add chain inet ${name} ready`);
  holder.stdin.write(`${lines.join('\n')}\n`);
  const ready = `list chain inet ${name} ready`;
  try {
    await within('nft takes a table of ours', async () => {
      const told = runNftInProcess(netns, ready);
      if (told !== undefined) return told === '';
      return (await createCommandRunner(netns).run('nft', ready.split(' '), { anyCode: true })).code === 0;
    });
  } catch (error) {
    await endProgram(holder);
    throw new WeirError('timeout', `nft did not take a table of ours: ${printable(words.trim(), 300)}`, {}, error);
  }
  return { close: () => endProgram(holder) };
}
