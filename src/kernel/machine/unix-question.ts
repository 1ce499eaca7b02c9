// One question to a program that listens on a Unix socket in the file system, and which such sockets a process has. Bounded in time and
// size; what is asked and what the answer means is the caller's.
// Source: unix(7), proc(5) (/proc/net/unix).

import { lstatSync, readFileSync, readlinkSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join, normalize } from 'node:path';
import { WeirError } from '../../base/errors.ts';

const acceptsConnections = 0x10000;
/** sun_path, with its zero. */
const maxPathBytes = 107;

/**
 * Lines of /proc/PID/net/unix: sockets that listen, by inode, with their path; abstract names are left out. A path may hold line ends and
 * what looks like another socket's line: an inode that is there twice is nobody's.
 */
export function parseUnixListeners(text: string): { inode: number; path: string }[] {
  const found: { inode: number; path: string }[] = [];
  const times = new Map<number, number>();
  for (const line of text.split('\n')) {
    const [, number] = /^[0-9a-f]+: \S+ \S+ \S+ \S+ \S+ +(\d+)(?: |$)/i.exec(line) ?? [];
    if (number !== undefined) times.set(Number(number), (times.get(Number(number)) ?? 0) + 1);
    const match = /^[0-9a-f]+: \S+ \S+ ([0-9A-F]{8}) \S+ \S+ +(\d+) (\/.*)$/.exec(line);
    if (match && (Number.parseInt(match[1], 16) & acceptsConnections) !== 0)
      found.push({ inode: Number(match[2]), path: match[3] });
  }
  return found.filter(({ inode }) => times.get(inode) === 1);
}

/** Paths of the sockets a process listens on, as they are to be opened from here; `inodes` are those it holds. */
export function readUnixListeners(pid: number, inodes: ReadonlySet<number>): string[] {
  try {
    return (
      parseUnixListeners(readFileSync(`/proc/${pid}/net/unix`, 'utf8'))
        .filter(({ inode }) => inodes.has(inode))
        // HAProxy binds to `admin.sock.123.tmp` and renames it; the kernel goes on calling it so.
        .map(({ path }) => resolveBelow(`/proc/${pid}/root`, path.replace(/\.\d+\.tmp$/, '')))
        .filter((path) => path !== undefined && Buffer.byteLength(path) <= maxPathBytes) as string[]
    );
  } catch {
    return [];
  }
}

const linkTarget = (directory: string, target: string): string =>
  normalize(target.startsWith('/') ? target : join(directory, target));

/** Links followed, at most. */
const maxLinks = 16;

/**
 * A path as a process with this root sees it: links of its own lead nowhere outside, though the kernel would follow an absolute one from
 * our root. Undefined when there is nothing, or no socket. Whoever owns the directory may change it meanwhile.
 */
export function resolveBelow(root: string, path: string): string | undefined {
  let left = normalize(path).split('/').filter(Boolean);
  let reached = '/';
  let links = 0;
  while (left.length > 0) {
    const [name, ...rest] = left;
    // Normalized from `/`: no `..` leads above the root.
    const next = join(reached, name);
    try {
      const status = lstatSync(root + next);
      if (status.isSymbolicLink()) {
        links += 1;
        if (links > maxLinks) return undefined;
        const target = linkTarget(reached, readlinkSync(root + next));
        left = [...target.split('/').filter(Boolean), ...rest];
        reached = '/';
        continue;
      }
      if (rest.length === 0 && !status.isSocket()) return undefined;
    } catch {
      return undefined;
    }
    reached = next;
    left = rest;
  }
  return reached === '/' ? undefined : root + reached;
}

/** Sends one line and gives what comes until the other end closes. Throws `not-permitted`, `not-running`, `timeout`, `bad-request` (too long). */
export function askUnixSocket(path: string, line: string, timeoutMs: number, maxBytes: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    const parts: Buffer[] = [];
    let size = 0;
    const fail = (error: WeirError): void => {
      socket.destroy();
      reject(error);
    };
    const timer = setTimeout(() => fail(new WeirError('timeout', `${path} did not answer within ${timeoutMs} ms`)), timeoutMs);
    socket.on('close', () => clearTimeout(timer));
    socket.on('error', (error: NodeJS.ErrnoException) =>
      fail(new WeirError(error.code === 'EACCES' ? 'not-permitted' : 'not-running', `${path}: ${error.message}`, {}, error)),
    );
    socket.on('data', (part: Buffer) => {
      size += part.length;
      if (size > maxBytes) fail(new WeirError('bad-request', `the answer of ${path} is longer than ${maxBytes} bytes`));
      else parts.push(part);
    });
    socket.on('end', () => resolve(Buffer.concat(parts).toString('latin1')));
    socket.end(`${line}\n`);
  });
}
