// SQL Server: pre-login without encryption, so that LOGIN7 comes in the clear; its user and password; login failed.
// Source: MS-TDS 2.2.6.5 (PRELOGIN), 2.2.6.4 (LOGIN7), 2.2.7.10 (ERROR).

import { clip } from '../line.ts';
import type { Dialogue, Responder } from '../responder.ts';

const packet = (type: number, body: Buffer): Buffer => {
  const head = Buffer.from([type, 1, 0, 0, 0, 0, 1, 0]);
  head.writeUInt16BE(8 + body.length, 2);
  return Buffer.concat([head, body]);
};

/** VERSION 15.0.2000.5, ENCRYPT_NOT_SUP, INSTOPT, THREADID, MARS. */
const preLogin = packet(
  4,
  Buffer.from(
    '00001a0006' + '0100200001' + '0200210001' + '0300220000' + '0400220001' + 'ff' + '0f0007d00000' + '02' + '00' + '00',
    'hex',
  ),
);

const ucs2 = (text: string): Buffer => Buffer.from(text, 'utf16le');

function renderFailure(user: string, host: string): Buffer {
  const message = ucs2(`Login failed for user '${user}'.`);
  const server = ucs2(host.slice(0, 64).toUpperCase());
  const body = Buffer.alloc(6 + 2 + message.length + 1 + server.length + 1 + 4);
  body.writeInt32LE(18456, 0);
  body[4] = 1;
  body[5] = 14;
  body.writeUInt16LE(message.length / 2, 6);
  message.copy(body, 8);
  body[8 + message.length] = server.length / 2;
  server.copy(body, 9 + message.length);
  body.writeInt32LE(1, 10 + message.length + server.length);
  const head = Buffer.from([0xaa, 0, 0]);
  head.writeUInt16LE(body.length, 1);
  const done = Buffer.alloc(13);
  done[0] = 0xfd;
  done[1] = 2;
  return packet(4, Buffer.concat([head, body, done]));
}

/** The text an offset and length pair of LOGIN7 points to; empty when it points outside. */
function field(login: Buffer, at: number, secret = false): string {
  if (login.length < at + 4) return '';
  const offset = login.readUInt16LE(at);
  const length = Math.min(login.readUInt16LE(at + 2), 128) * 2;
  if (offset + length > login.length) return '';
  const bytes = Buffer.from(login.subarray(offset, offset + length));
  if (secret)
    for (let index = 0; index < bytes.length; index += 1) {
      const byte = bytes[index] ^ 0xa5;
      bytes[index] = ((byte << 4) | (byte >> 4)) & 255;
    }
  return bytes.toString('utf16le');
}

const dialogue: Dialogue = {
  receive(bytes, talk) {
    if (bytes.length < 8) return 0;
    const length = bytes.readUInt16BE(2);
    if (length < 8 || length > 32_768) {
      talk.end();
      return bytes.length;
    }
    if (bytes.length < length) return 0;
    if (bytes[0] === 0x12) talk.send(preLogin);
    else if (bytes[0] === 0x10) {
      const login = bytes.subarray(8, length);
      const user = clip(field(login, 40));
      const password = clip(field(login, 44, true));
      talk.find(password === '' ? { userName: user } : { userName: user, password });
      talk.send(renderFailure(user, talk.host));
      talk.end();
    } else talk.end();
    return length;
  },
};

export const mssql: Responder = { protocol: 'mssql', open: () => dialogue };
