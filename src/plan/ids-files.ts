// What Suricata reads and where it meets the feeder: a directory of the instance below /run. Root owns what is read and the pipe
// of alerts, Suricata's account the room of its own sockets. Configuration and rules change at once.

import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { WeirError } from '../base/errors.ts';
import { feedLink, renderMarkerRule } from '../model/suricata-settings.ts';
import type { IdsState } from './desired-state.ts';
import { renderSuricataConfiguration } from './suricata-configuration.ts';

export interface IdsAccounts {
  /** Reads attackers' bytes out of the journals and writes them to the TAP. */
  readonly feeder: { readonly uid: number; readonly gid: number };
  readonly suricata: { readonly uid: number; readonly gid: number };
}

/** Paths of one instance. */
export interface IdsFiles {
  readonly directory: string;
  readonly configuration: string;
  readonly rules: string;
  /** A pipe: Suricata waits for it where it drops what a socket does not take at once. */
  readonly evePipe: string;
  readonly commandSocket: string;
}

const maxRuleBytes = 64 << 20;
const packageFiles = { classification: '/etc/suricata/classification.config', reference: '/etc/suricata/reference.config' };

export const idsFiles = (directory: string): IdsFiles => ({
  directory,
  configuration: join(directory, 'suricata.yaml'),
  rules: join(directory, 'rules'),
  evePipe: join(directory, 'eve.fifo'),
  commandSocket: join(directory, 'suricata/command.sock'),
});

export interface RuleFile {
  readonly path: string;
  readonly content: Buffer;
}

/** Ours and the user's. Throws `config-unreadable` naming the file. */
export function readRuleFiles(own: string, { settings }: IdsState): RuleFile[] {
  const ours = readdirSync(own)
    .filter((name) => name.endsWith('.rules'))
    .sort()
    .map((name) => join(own, name));
  return [...ours, ...settings.rules.flatMap(rulesAt)].map((path) => {
    try {
      if (statSync(path).size > maxRuleBytes) throw new Error(`it is larger than ${maxRuleBytes >> 20} MiB`);
      return { path, content: readFileSync(path) };
    } catch (error) {
      throw unreadable(path, error);
    }
  });
}

/** Of a directory its `.rules` files, by name. */
function rulesAt(path: string): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path];
    return readdirSync(path)
      .filter((name) => name.endsWith('.rules'))
      .sort()
      .map((name) => join(path, name));
  } catch (error) {
    throw unreadable(path, error);
  }
}

const unreadable = (path: string, error: unknown): WeirError =>
  new WeirError(
    'config-unreadable',
    `the rule file ${path} of \`suricata.rules\` cannot be read: ${error instanceof Error ? error.message : error}`,
    { path },
    error,
  );

export const digestOf = (files: readonly RuleFile[]): string => {
  const hash = createHash('sha256');
  for (const { path, content } of files) hash.update(`${path} ${content.length}\n`).update(content);
  return hash.digest('hex');
};

/** The directories and the configuration, not yet the rules. Idempotent. */
export function writeIdsFiles(files: IdsFiles, { settings }: IdsState, accounts: IdsAccounts): void {
  const { suricata } = accounts;
  const room = (path: string, uid: number, gid: number, mode: number): void => {
    mkdirSync(path, { recursive: true, mode });
    chownSync(path, uid, gid);
    chmodSync(path, mode);
  };
  room(files.directory, 0, suricata.gid, 0o750);
  room(files.rules, 0, suricata.gid, 0o750);
  room(join(files.directory, 'suricata'), suricata.uid, suricata.gid, 0o750);
  const text = renderSuricataConfiguration({
    interface: feedLink,
    ruleFiles: [join(files.rules, '*.rules')],
    evePipe: files.evePipe,
    commandSocket: files.commandSocket,
    logDirectory: join(files.directory, 'suricata'),
    ...Object.fromEntries(Object.entries(packageFiles).filter(([, path]) => existsSync(path))),
    memoryBytes: settings.memoryBytes,
  });
  writeFor(files.configuration, text, suricata.gid);
}

/** The rules as they are from now on; what was there before and is not named any more goes. `token` is the marker's. */
export function writeRules(files: IdsFiles, rules: readonly RuleFile[], token: string, gid: number): void {
  const names = new Set(['000-marker.rules']);
  writeFor(join(files.rules, '000-marker.rules'), renderMarkerRule(token), gid);
  for (const [index, { path, content }] of rules.entries()) {
    const base = (path.split('/').at(-1) ?? '').replaceAll(/[^\w.-]/g, '_').slice(0, 64);
    const name = `${String(index + 1).padStart(3, '0')}-${base.endsWith('.rules') ? base : `${base}.rules`}`;
    names.add(name);
    writeFor(join(files.rules, name), content, gid);
  }
  for (const name of readdirSync(files.rules)) if (!names.has(name)) rmSync(join(files.rules, name), { force: true });
}

function writeFor(path: string, content: string | Buffer, gid: number): void {
  const fresh = `${path}.new`;
  rmSync(fresh, { force: true });
  writeFileSync(fresh, content, { mode: 0o640, flag: 'wx' });
  chownSync(fresh, 0, gid);
  renameSync(fresh, path);
}

export const removeIdsFiles = (files: IdsFiles): void => rmSync(files.directory, { recursive: true, force: true });
