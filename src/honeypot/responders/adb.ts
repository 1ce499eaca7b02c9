// Android Debug Bridge: an unlocked device whose shell answers from a table and whose file pushes are taken and dropped.
// Source: the ADB protocol description (protocol.txt, SYNC.TXT). What is pushed is on record as received bytes.

import type { Conversation, Dialogue, Responder } from '../responder.ts';
import { shellAnswer } from './shell-answers.ts';

const version = 0x01000000;
/** Small, so that pushed files come in pieces that fit any bound. */
const maxData = 4096;

function packet(command: string, first: number, second: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(24);
  head.write(command, 0, 'latin1');
  head.writeUInt32LE(first >>> 0, 4);
  head.writeUInt32LE(second >>> 0, 8);
  head.writeUInt32LE(payload.length, 12);
  let sum = 0;
  for (const byte of payload) sum = (sum + byte) >>> 0;
  head.writeUInt32LE(sum, 16);
  head.writeUInt32LE((head.readUInt32LE(0) ^ 0xffffffff) >>> 0, 20);
  return Buffer.concat([head, payload]);
}

const features = 'device::ro.product.name=occam;ro.product.model=Nexus 4;ro.product.device=mako;features=cmd,shell_v1;\0';

class AdbDialogue implements Dialogue {
  #streams = 0;

  receive(bytes: Buffer, talk: Conversation): number {
    if (bytes.length < 24) return 0;
    const length = bytes.readUInt32LE(12);
    if (length > 60_000 || (bytes.readUInt32LE(0) ^ bytes.readUInt32LE(20)) >>> 0 !== 0xffffffff) {
      talk.end();
      return bytes.length;
    }
    if (bytes.length < 24 + length) return 0;
    const command = bytes.toString('latin1', 0, 4);
    const remote = bytes.readUInt32LE(4);
    const local = bytes.readUInt32LE(8);
    const payload = bytes.subarray(24, 24 + length);
    if (command === 'CNXN' || command === 'AUTH') talk.send(packet('CNXN', version, maxData, Buffer.from(features)));
    else if (command === 'STLS') talk.end();
    else if (command === 'OPEN') this.#open(remote, payload, talk);
    else if (command === 'WRTE') this.#write(remote, local, payload, talk);
    else if (command === 'CLSE') talk.send(packet('CLSE', local, remote));
    return 24 + length;
  }

  #open(remote: number, payload: Buffer, talk: Conversation): void {
    this.#streams += 1;
    if (this.#streams > 256) {
      talk.end();
      return;
    }
    const service = payload.toString('latin1', 0, 2048).replace(/\0.*$/, '');
    const local = this.#streams;
    const shell = /^(?:shell|exec)(?:,[^:]{0,64})?:([\s\S]*)$/.exec(service);
    talk.send(packet('OKAY', local, remote));
    if (!shell) return;
    if (shell[1] === '') {
      talk.send(packet('WRTE', local, remote, Buffer.from('shell@mako:/ $ ')));
      return;
    }
    const text = shellAnswer(shell[1], talk);
    if (text !== '') talk.send(packet('WRTE', local, remote, Buffer.from(`${text}\n`).subarray(0, maxData)));
    talk.send(packet('CLSE', local, remote));
  }

  #write(remote: number, local: number, payload: Buffer, talk: Conversation): void {
    talk.send(packet('OKAY', local, remote));
    const kind = payload.toString('latin1', 0, 4);
    if (kind === 'STAT') talk.send(packet('WRTE', local, remote, Buffer.concat([Buffer.from('STAT'), Buffer.alloc(12)])));
    else if (kind === 'DONE' || payload.subarray(-8).toString('latin1', 0, 4) === 'DONE')
      talk.send(packet('WRTE', local, remote, Buffer.from('OKAY\0\0\0\0', 'latin1')));
    else if (kind === 'QUIT') talk.send(packet('CLSE', local, remote));
    else if (payload.length > 0 && payload[payload.length - 1] === 10 && kind !== 'SEND' && kind !== 'DATA') {
      const text = shellAnswer(payload.toString('latin1', 0, 1024), talk);
      talk.send(
        packet('WRTE', local, remote, Buffer.from(`${text}${text === '' ? '' : '\n'}shell@mako:/ $ `).subarray(0, maxData)),
      );
    }
  }
}

export const adb: Responder = { protocol: 'adb', open: () => new AdbDialogue() };
