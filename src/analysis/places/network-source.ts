// Reads the package's table of networks (CSV: first, last, AS number, name) into a NetworkTable, and keeps the packed form
// in a cache beside the data, because reading the text takes a second and reading that takes a few milliseconds.

import { type FileHandle, open, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureDirectory, writeDurably } from '../../base/durable-file.ts';
import { WeirError } from '../../base/errors.ts';
import { type Address, parseAddress } from '../../model/address.ts';
import { type Ipv6Words, type NetworkTable, NetworkTableBuilder, parseNetworkTable } from './network-table.ts';

export interface NetworkFiles {
  /** Numbers for addresses: `16777216,16777471,13335,"Cloudflare, Inc."`. */
  readonly ipv4: string;
  /** Addresses in their own form. */
  readonly ipv6: string;
}

const pieceBytes = 2 ** 20;
const lineLimit = 4096;
const cacheName = 'networks.bin';
const newline = 10;
const comma = 44;
const quote = 34;

/** The packed form is made again when a file's size or time changed. A cache that cannot be written is reported by `tell`, no more. */
export async function openNetworkTable(
  files: NetworkFiles,
  cacheDirectory: string | undefined,
  tell: (message: string) => void,
): Promise<NetworkTable> {
  const origin = (await Promise.all([files.ipv4, files.ipv6].map(describeFile))).join('\n');
  const cache = cacheDirectory === undefined ? undefined : join(cacheDirectory, cacheName);
  if (cache !== undefined) {
    const packed = await readFile(cache).catch(() => undefined);
    const table = packed && parseNetworkTable(packed, origin);
    if (table) return table;
  }
  const table = await readNetworkFiles(files);
  if (cache !== undefined && cacheDirectory !== undefined)
    try {
      await ensureDirectory(cacheDirectory);
      await writeDurably(cache, table.render(origin));
    } catch (error) {
      tell(`the table of networks is made at every start: ${error instanceof Error ? error.message : String(error)}`);
    }
  return table;
}

async function describeFile(path: string): Promise<string> {
  const { size, mtimeMs } = await stat(path);
  return `${path} ${size} ${mtimeMs}`;
}

/** Throws what the file system says, or `bad-request` when hardly a line reads as one. */
export async function readNetworkFiles(files: NetworkFiles): Promise<NetworkTable> {
  const builder = new NetworkTableBuilder();
  await eachLine(files.ipv4, (line, end) => addIpv4(builder, line, end));
  await eachLine(files.ipv6, (line, end) => addIpv6(builder, line, end));
  return builder.build();
}

/** The table is read piece by piece, so that whoever else runs in this process gets a turn. */
async function eachLine(path: string, take: (line: Buffer, end: number) => boolean): Promise<void> {
  let handle: FileHandle | undefined;
  let good = 0;
  let bad = 0;
  try {
    handle = await open(path, 'r');
    const buffer = Buffer.allocUnsafe(pieceBytes + lineLimit);
    let held = 0;
    for (;;) {
      const { bytesRead } = await handle.read(buffer, held, pieceBytes, null);
      const end = held + bytesRead;
      let start = 0;
      for (let at = buffer.indexOf(newline, start); at >= 0 && at < end; at = buffer.indexOf(newline, start)) {
        if (take(buffer.subarray(start, at), at - start)) good += 1;
        else bad += 1;
        start = at + 1;
      }
      if (bytesRead === 0) {
        if (start < end && !take(buffer.subarray(start, end), end - start)) bad += 1;
        break;
      }
      held = end - start;
      if (held > lineLimit) {
        bad += 1;
        held = 0;
      } else buffer.copyWithin(0, start, end);
    }
  } finally {
    await handle?.close();
  }
  if (good === 0 || bad > good)
    throw new WeirError('bad-request', `${path} is no table of networks: ${good} lines read as one, ${bad} did not`, { path });
}

function addIpv4(builder: NetworkTableBuilder, line: Buffer, end: number): boolean {
  const first = line.indexOf(comma);
  const second = line.indexOf(comma, first + 1);
  const third = line.indexOf(comma, second + 1);
  if (first < 0 || second < 0 || third < 0) return false;
  const from = digits(line, 0, first);
  const to = digits(line, first + 1, second);
  const asn = digits(line, second + 1, third);
  if (from < 0 || to < from || asn < 0) return false;
  builder.addIpv4(from, to, asn, builder.knows(asn) ? '' : name(line, third + 1, end));
  return true;
}

function addIpv6(builder: NetworkTableBuilder, line: Buffer, end: number): boolean {
  const first = line.indexOf(comma);
  const second = line.indexOf(comma, first + 1);
  const third = line.indexOf(comma, second + 1);
  if (first < 0 || second < 0 || third < 0) return false;
  const from = parseAddress(line.toString('latin1', 0, first));
  const to = parseAddress(line.toString('latin1', first + 1, second));
  const asn = digits(line, second + 1, third);
  if (from?.family !== 6 || to?.family !== 6 || asn < 0) return false;
  builder.addIpv6(ipv6Words(from), ipv6Words(to), asn, builder.knows(asn) ? '' : name(line, third + 1, end));
  return true;
}

/** -1 for what is no number of at most ten digits. */
function digits(line: Buffer, from: number, to: number): number {
  if (to === from || to - from > 10) return -1;
  let value = 0;
  for (let at = from; at < to; at += 1) {
    const digit = line[at] - 48;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

/** A CSV field to the end of the line (RFC 4180). */
function name(line: Buffer, from: number, end: number): string {
  const last = line[end - 1] === 13 ? end - 1 : end;
  if (line[from] !== quote) return line.toString('utf8', from, last);
  return line.toString('utf8', from + 1, last - 1).replaceAll('""', '"');
}

export const ipv6Words = ({ value }: Address): Ipv6Words => [
  Number(value >> 96n),
  Number((value >> 64n) & 0xffffffffn),
  Number((value >> 32n) & 0xffffffffn),
  Number(value & 0xffffffffn),
];
