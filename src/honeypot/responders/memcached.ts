// memcached, text and binary: empty, friendly, storing nothing. Sources: memcached doc/protocol.txt, the binary protocol.

import { takeLine } from '../line.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';

const version = (talk: Conversation): string => talk.persona.banners.memcached ?? '1.6.18';

const stats = (talk: Conversation): string =>
  [
    'pid 742',
    'uptime 1903412',
    'time 1717400000',
    `version ${version(talk)}`,
    'libevent 2.1.12-stable',
    'pointer_size 64',
    'curr_connections 2',
    'total_connections 190',
    'cmd_get 1204',
    'cmd_set 311',
    'get_hits 893',
    'bytes 48211',
    'curr_items 97',
    'limit_maxbytes 67108864',
    'threads 4',
  ]
    .map((line) => `STAT ${line}\r\n`)
    .join('');

const storing = new Set(['set', 'add', 'replace', 'append', 'prepend', 'cas', 'ms']);

class MemcachedDialogue implements Dialogue {
  /** Bytes of a value still to come, its line end included. */
  #left = 0;
  #quiet = false;

  receive(bytes: Buffer, talk: Conversation): number {
    if (this.#left > 0) {
      const used = Math.min(this.#left, bytes.length);
      this.#left -= used;
      if (this.#left === 0 && !this.#quiet) talk.send('STORED\r\n');
      return used;
    }
    if (bytes[0] === 0x80) return binary(bytes, talk);
    const line = takeLine(bytes);
    if (!line) return 0;
    const words = line.text.split(' ');
    const verb = words[0].toLowerCase();
    if (storing.has(verb)) {
      const length = Number(words[verb === 'ms' ? 2 : 4]?.replace(/^S/, ''));
      if (!Number.isInteger(length) || length < 0) talk.send('CLIENT_ERROR bad command line format\r\n');
      else if (length > 1_048_576) talk.send('SERVER_ERROR object too large for cache\r\n');
      else {
        this.#left = length + 2;
        this.#quiet = words.at(-1) === 'noreply';
      }
    } else if (verb === 'stats') talk.send(words.length > 1 && words[1] !== '' ? 'END\r\n' : `${stats(talk)}END\r\n`);
    else if (verb === 'version') talk.send(`VERSION ${version(talk)}\r\n`);
    else if (verb === 'get' || verb === 'gets' || verb === 'gat') talk.send('END\r\n');
    else if (verb === 'mg') talk.send('EN\r\n');
    else if (verb === 'mn') talk.send('MN\r\n');
    else if (verb === 'delete' || verb === 'incr' || verb === 'decr' || verb === 'touch') talk.send('NOT_FOUND\r\n');
    else if (verb === 'flush_all' || verb === 'verbosity' || verb === 'lru_crawler') talk.send('OK\r\n');
    else if (verb === 'quit') talk.end();
    else talk.send('ERROR\r\n');
    return line.used;
  }
}

function binary(bytes: Buffer, talk: Conversation): number {
  if (bytes.length < 24) return 0;
  const length = bytes.readUInt32BE(8);
  if (length > 60_000) {
    talk.end();
    return bytes.length;
  }
  if (bytes.length < 24 + length) return 0;
  const operation = bytes[1];
  const missing = [0x00, 0x09, 0x0c, 0x0d, 0x04, 0x1d].includes(operation);
  const body = operation === 0x0b ? Buffer.from(version(talk)) : missing ? Buffer.from('Not found') : Buffer.alloc(0);
  const head = Buffer.alloc(24);
  head[0] = 0x81;
  head[1] = operation;
  head.writeUInt16BE(missing ? 1 : 0, 6);
  head.writeUInt32BE(body.length, 8);
  bytes.copy(head, 12, 12, 16);
  if (operation === 0x07) talk.end();
  else talk.send(Buffer.concat([head, body]));
  return 24 + length;
}

export const memcached: Responder = { protocol: 'memcached', open: () => new MemcachedDialogue() };
