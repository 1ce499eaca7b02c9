// Android's debug bridge (ADB) as attackers use it: shell services and files pushed to the device. Pure, linear, on hostile
// bytes. Source: AOSP's protocol.txt and SYNC.TXT.

import { createHash } from 'node:crypto';

export interface BridgeUse {
  /** What shells were asked to run, or were sent. */
  readonly commands: readonly string[];
  readonly files: readonly { readonly path: string; readonly sha256?: string }[];
}

const headerBytes = 24;
const open = 0x4e45504f;
const write = 0x45545257;
const messageLimit = 1024;
const fileLimit = 32;

/** Undefined when the bytes do not begin with a message. */
export function readBridge(bytes: Buffer): BridgeUse | undefined {
  const commands: string[] = [];
  const synced: Buffer[] = [];
  let isSync = false;
  let at = 0;
  for (let count = 0; count < messageLimit && at + headerBytes <= bytes.length; count += 1) {
    const command = bytes.readUInt32LE(at);
    if ((command ^ bytes.readUInt32LE(at + 20)) >>> 0 !== 0xffffffff) break;
    const length = bytes.readUInt32LE(at + 12);
    const data = bytes.subarray(at + headerBytes, at + headerBytes + length);
    if (command === open) {
      const service = data.toString('latin1', 0, data[data.length - 1] === 0 ? data.length - 1 : data.length);
      const colon = service.indexOf(':');
      const name = service.slice(0, Math.max(0, colon)).split(',', 1)[0];
      isSync = name === 'sync';
      if ((name === 'shell' || name === 'exec') && colon + 1 < service.length) commands.push(service.slice(colon + 1));
    } else if (command === write) {
      if (isSync) synced.push(data);
      else commands.push(data.toString('latin1'));
    }
    at += headerBytes + length;
  }
  return at === 0 ? undefined : { commands, files: readSync(Buffer.concat(synced)) };
}

/** SEND names a file (`path,mode`), DATA fills it, DONE ends it. */
function readSync(bytes: Buffer): { readonly path: string; readonly sha256?: string }[] {
  const files: { path: string; sha256?: string }[] = [];
  let hash = createHash('sha256');
  for (let at = 0; at + 8 <= bytes.length && files.length < fileLimit; ) {
    const id = bytes.toString('latin1', at, at + 4);
    const length = bytes.readUInt32LE(at + 4);
    // The length of DONE is a time.
    const data = bytes.subarray(at + 8, id === 'DONE' ? at + 8 : at + 8 + length);
    if (id === 'SEND') {
      const text = data.toString('latin1');
      const comma = text.lastIndexOf(',');
      files.push({ path: comma < 0 ? text : text.slice(0, comma) });
      hash = createHash('sha256');
    } else if (id === 'DATA') hash.update(data);
    else if (id === 'DONE') {
      const file = files.at(-1);
      if (file) file.sha256 = hash.digest('hex');
      hash = createHash('sha256');
    } else if (id !== 'STAT' && id !== 'LIST' && id !== 'RECV' && id !== 'QUIT') break;
    at += 8 + data.length;
  }
  return files;
}
