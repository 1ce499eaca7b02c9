// MongoDB without access control: hello, build information, a list of databases; anything else is acknowledged and ignored.
// Sources: MongoDB wire protocol (OP_QUERY, OP_MSG, OP_REPLY), bsonspec.org.

import { clip } from '../line.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';

type Value = string | number | boolean | Document | Value[];
interface Document {
  readonly [name: string]: Value;
}

const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
};

/** BSON of the few types our answers use; numbers are int32 when whole, double otherwise. */
function bson(document: Document | Value[]): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of Object.entries(document)) {
    const key = Buffer.from(`${name}\0`);
    if (typeof value === 'string')
      parts.push(Buffer.from([2]), key, int32(Buffer.byteLength(value) + 1), Buffer.from(`${value}\0`));
    else if (typeof value === 'boolean') parts.push(Buffer.from([8]), key, Buffer.from([value ? 1 : 0]));
    else if (typeof value === 'number') {
      const double = Buffer.alloc(8);
      double.writeDoubleLE(value);
      parts.push(Buffer.from([name === 'ok' ? 1 : 16]), key, name === 'ok' ? double : int32(value));
    } else parts.push(Buffer.from([Array.isArray(value) ? 4 : 3]), key, bson(value));
  }
  const body = Buffer.concat(parts);
  return Buffer.concat([int32(body.length + 5), body, Buffer.alloc(1)]);
}

const message = (responseTo: number, operation: number, body: Buffer): Buffer =>
  Buffer.concat([int32(16 + body.length), int32(4711), int32(responseTo), int32(operation), body]);

/** The command is the name of the document's first element. */
function commandOf(document: Buffer): string {
  const end = document.indexOf(0, 5);
  return document.length > 6 && end > 5 ? clip(document.toString('latin1', 5, end), 64) : '';
}

const hello: Document = {
  ismaster: true,
  isWritablePrimary: true,
  maxBsonObjectSize: 16_777_216,
  maxMessageSizeBytes: 48_000_000,
  maxWriteBatchSize: 100_000,
  logicalSessionTimeoutMinutes: 30,
  minWireVersion: 0,
  maxWireVersion: 9,
  readOnly: false,
  ok: 1,
};

function answer(command: string, document: Buffer, talk: Conversation): Document {
  switch (command.toLowerCase()) {
    case 'ismaster':
    case 'hello':
      return hello;
    case 'buildinfo':
      return {
        version: talk.persona.banners.mongodb ?? '4.4.29',
        gitVersion: 'f4dda329a99811c707eb06d05ad023599f9be263',
        bits: 64,
        debug: false,
        ok: 1,
      };
    case 'listdatabases':
      return {
        databases: ['admin', 'config', 'customers', 'local'].map((name, index) => ({
          name,
          sizeOnDisk: 40_960 * (index + 1),
          empty: false,
        })),
        totalSize: 409_600,
        ok: 1,
      };
    case 'listcollections':
      return {
        cursor: { id: 0, ns: 'customers.$cmd.listCollections', firstBatch: [{ name: 'accounts', type: 'collection' }] },
        ok: 1,
      };
    case 'find':
    case 'aggregate':
      return { cursor: { id: 0, ns: 'customers.accounts', firstBatch: [] }, ok: 1 };
    case 'saslstart': {
      const user = /n,,n=([^,]{1,256}),r=/.exec(document.toString('latin1', 0, 1024));
      if (user) talk.find({ userName: user[1] });
      return { ok: 0, errmsg: 'Authentication failed.', code: 18, codeName: 'AuthenticationFailed' };
    }
    case 'whatsmyuri':
      return { you: `${talk.source.ip}:${talk.source.port}`, ok: 1 };
    case 'serverstatus':
      return { host: talk.host, version: talk.persona.banners.mongodb ?? '4.4.29', process: 'mongod', uptime: 1_903_412, ok: 1 };
    default:
      return { ok: 1 };
  }
}

const dialogue: Dialogue = {
  receive(bytes, talk) {
    if (bytes.length < 16) return 0;
    const length = bytes.readInt32LE(0);
    if (length < 16 || length > 65_000) {
      talk.end();
      return bytes.length;
    }
    if (bytes.length < length) return 0;
    const request = bytes.readInt32LE(4);
    const body = bytes.subarray(16, length);
    switch (bytes.readInt32LE(12)) {
      case 2004: {
        const end = body.indexOf(0, 4);
        if (end < 0) break;
        const document = body.subarray(end + 9);
        const reply = bson(answer(commandOf(document), document, talk));
        // Flags, cursor, starting from, one document.
        talk.send(message(request, 1, Buffer.concat([int32(8), Buffer.alloc(8), int32(0), int32(1), reply])));
        break;
      }
      case 2013: {
        const document = body.subarray(5);
        // moreToCome: the client wants no answer.
        if (body.length >= 5 && (body.readUInt32LE(0) & 2) === 0)
          talk.send(
            message(request, 2013, Buffer.concat([int32(0), Buffer.alloc(1), bson(answer(commandOf(document), document, talk))])),
          );
        break;
      }
      case 2005:
      case 2010:
      case 2012:
        talk.end();
        break;
    }
    return length;
  },
};

export const mongodb: Responder = { protocol: 'mongodb', open: () => dialogue };
