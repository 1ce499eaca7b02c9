// MySQL: greeting, TLS when asked, the login's user name, access denied.
// Source: MySQL client/server protocol, HandshakeV10, HandshakeResponse41, SSLRequest, ERR_Packet.

import { randomBytes } from 'node:crypto';
import { clip } from '../line.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';

const clientSsl = 0x800;
const protocol41 = 0x200;

const packet = (sequence: number, payload: Buffer): Buffer => {
  const head = Buffer.alloc(4);
  head.writeUIntLE(payload.length, 0, 3);
  head[3] = sequence;
  return Buffer.concat([head, payload]);
};

function renderGreeting(version: string, encrypted: boolean): Buffer {
  // Salt bytes are printable in every real server.
  const salt = randomBytes(20).map((byte) => 33 + (byte % 94));
  const capabilities = 0x81bfffdf & ~(encrypted ? clientSsl : 0);
  const head = Buffer.from(`\x0a${version.slice(0, 64)}\0`, 'latin1');
  const thread = Buffer.alloc(4);
  thread.writeUInt32LE(10 + salt[0]);
  const rest = Buffer.alloc(18);
  rest.writeUInt16LE(capabilities & 0xffff, 0);
  rest[2] = 8;
  rest.writeUInt16LE(2, 3);
  rest.writeUInt16LE(capabilities >>> 16, 5);
  rest[7] = 21;
  return packet(
    0,
    Buffer.concat([
      head,
      thread,
      salt.subarray(0, 8),
      Buffer.alloc(1),
      rest,
      salt.subarray(8),
      Buffer.from('\0mysql_native_password\0', 'latin1'),
    ]),
  );
}

const renderError = (sequence: number, code: number, state: string, text: string): Buffer => {
  const head = Buffer.alloc(3);
  head[0] = 0xff;
  head.writeUInt16LE(code, 1);
  return packet(sequence, Buffer.concat([head, Buffer.from(`#${state}${text}`, 'latin1')]));
};

class MysqlDialogue implements Dialogue {
  greet(talk: Conversation): void {
    talk.send(renderGreeting(talk.persona.banners.mysql ?? '5.7.44-log', talk.encrypted));
  }

  receive(bytes: Buffer, talk: Conversation): number {
    if (bytes.length < 4) return 0;
    const length = bytes.readUIntLE(0, 3);
    const sequence = bytes[3];
    if (length > 16_384 || length === 0) {
      talk.send(renderError(sequence + 1, 1043, '08S01', 'Bad handshake'));
      talk.end();
      return bytes.length;
    }
    if (bytes.length < 4 + length) return 0;
    const body = bytes.subarray(4, 4 + length);
    const capabilities = body.length >= 4 ? body.readUInt32LE(0) : 0;
    if (body.length === 32 && capabilities & clientSsl && !talk.encrypted) {
      talk.startTls();
      return 4 + length;
    }
    const at = capabilities & protocol41 ? 32 : 5;
    const end = body.indexOf(0, at);
    if (body.length <= at || end < 0) {
      talk.send(renderError((sequence + 1) & 255, 1043, '08S01', 'Bad handshake'));
      talk.end();
      return 4 + length;
    }
    const user = clip(body.toString('latin1', at, end), 128);
    const withPassword = (body[end + 1] ?? 0) > 0;
    talk.find({ userName: user });
    talk.send(
      renderError(
        (sequence + 1) & 255,
        1045,
        '28000',
        `Access denied for user '${user}'@'${talk.source.ip}' (using password: ${withPassword ? 'YES' : 'NO'})`,
      ),
    );
    talk.end();
    return 4 + length;
  }
}

export const mysql: Responder = { protocol: 'mysql', serverFirst: true, takesAnything: true, open: () => new MysqlDialogue() };
