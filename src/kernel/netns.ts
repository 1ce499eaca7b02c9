// Named network namespaces: made and removed many at a time, listed by prefix. What is inside is other files' matter.
// The names are those of ip-netns(8), so that people can look into them with the tools they know.

import { existsSync, readdirSync } from 'node:fs';
import { WeirError } from '../base/errors.ts';
import { createCommandRunner } from './command.ts';
import { namespaceDirectory, readNamespaceIdentity } from './namespace-handle.ts';

/** Ours; nothing else is ever made or removed. */
const namePattern = /^weir-[a-z0-9][a-z0-9.-]{0,80}$/;

export const netnsPath = (name: string): string => `${namespaceDirectory}/${checked(name)}`;

/** Whether a namespace is behind the name; a file that was left without its mount is none. */
export const netnsExists = (name: string): boolean => readNamespaceIdentity(netnsPath(name)) !== undefined;

/** Names that begin with `prefix`, sorted. */
export function listNetns(prefix: string): string[] {
  try {
    return readdirSync(namespaceDirectory)
      .filter((name) => name.startsWith(prefix) && namePattern.test(name))
      .sort();
  } catch {
    return [];
  }
}

/** One program for all of them; those there are already stay. Needs CAP_SYS_ADMIN. Throws `kernel-refused`; then some may have been made. */
export async function createNetns(names: readonly string[]): Promise<void> {
  const missing = names.filter((name) => !netnsExists(name));
  const hollow = missing.filter((name) => existsSync(netnsPath(name)));
  await batch([...hollow.map((name) => `netns delete ${name}\n`), ...missing.map((name) => `netns add ${name}\n`)]);
}

/** Those that are gone already are no error. What still holds a namespace (a socket) keeps it alive without its name. */
export async function deleteNetns(names: readonly string[]): Promise<void> {
  await batch(names.filter((name) => existsSync(netnsPath(name))).map((name) => `netns delete ${name}\n`));
}

async function batch(lines: readonly string[]): Promise<void> {
  if (lines.length > 0) await createCommandRunner().run('ip', ['-batch', '-'], { input: lines.join(''), timeoutMs: 120_000 });
}

function checked(name: string): string {
  if (!namePattern.test(name)) throw new WeirError('fault', `not a name for a network namespace: ${name}`);
  return name;
}
