// Redis without a password: what its worms expect to hear while they set keys, directories and masters. Keeps nothing.
// Source: the RESP specification, versions 2 and 3; inline commands.

import { clip, takeLine } from '../line.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';

const argumentLimit = 1024;
const bulkLimit = 60_000;

interface Command {
  readonly words: readonly string[];
  readonly used: number;
}

type Reading = Command | 'more' | 'broken';

/** One command, as an array of bulk strings or inline. */
export function parseCommand(bytes: Buffer): Reading {
  if (bytes[0] !== 0x2a) {
    const line = takeLine(bytes, 8192);
    if (!line) return 'more';
    return { words: line.text.split(/[ \t]+/).filter((word) => word !== ''), used: line.used };
  }
  const head = takeLine(bytes, 32);
  if (!head) return 'more';
  const count = Number(head.text.slice(1));
  if (!Number.isInteger(count) || count > argumentLimit) return 'broken';
  const words: string[] = [];
  let at = head.used;
  for (let index = 0; index < count; index += 1) {
    const size = takeLine(bytes.subarray(at, at + 32), 32);
    if (!size) return 'more';
    const length = Number(size.text.slice(1));
    if (size.text[0] !== '$' || !Number.isInteger(length) || length < 0 || length > bulkLimit) return 'broken';
    at += size.used;
    if (bytes.length < at + length + 2) return 'more';
    words.push(bytes.toString('latin1', at, at + length));
    at += length + 2;
  }
  return { words, used: at };
}

const bulk = (text: string): string => `$${Buffer.byteLength(text)}\r\n${text}\r\n`;
const array = (items: readonly string[]): string => `*${items.length}\r\n${items.map(bulk).join('')}`;

const info = (version: string, talk: Conversation): string =>
  [
    '# Server',
    `redis_version:${version}`,
    'redis_git_sha1:00000000',
    'redis_git_dirty:0',
    'redis_mode:standalone',
    `os:${talk.persona.operatingSystem.startsWith('Windows') ? 'Windows' : 'Linux 5.10.0-28-amd64 x86_64'}`,
    'arch_bits:64',
    'multiplexing_api:epoll',
    'process_id:712',
    `tcp_port:${talk.destination.port}`,
    'uptime_in_seconds:1903412',
    'uptime_in_days:22',
    'hz:10',
    'executable:/usr/bin/redis-server',
    'config_file:/etc/redis/redis.conf',
    '',
    '# Clients',
    'connected_clients:3',
    'blocked_clients:0',
    '',
    '# Memory',
    'used_memory:1123456',
    'used_memory_human:1.07M',
    'maxmemory:0',
    '',
    '# Persistence',
    'loading:0',
    'rdb_changes_since_last_save:0',
    'rdb_last_bgsave_status:ok',
    'aof_enabled:0',
    '',
    '# Replication',
    'role:master',
    'connected_slaves:0',
    '',
    '# Keyspace',
    'db0:keys=4,expires=0,avg_ttl=0',
    '',
  ].join('\r\n');

const settings: Readonly<Record<string, string>> = {
  dir: '/var/lib/redis',
  dbfilename: 'dump.rdb',
  save: '3600 1 300 100 60 10000',
  requirepass: '',
  'protected-mode': 'no',
  port: '6379',
};

const plain: Readonly<Record<string, string>> = {
  SET: '+OK\r\n',
  SETEX: '+OK\r\n',
  MSET: '+OK\r\n',
  FLUSHALL: '+OK\r\n',
  FLUSHDB: '+OK\r\n',
  SAVE: '+OK\r\n',
  BGSAVE: '+Background saving started\r\n',
  BGREWRITEAOF: '+Background append only file rewriting started\r\n',
  SELECT: '+OK\r\n',
  SLAVEOF: '+OK\r\n',
  REPLICAOF: '+OK\r\n',
  QUIT: '+OK\r\n',
  REPLCONF: '+OK\r\n',
  MONITOR: '+OK\r\n',
  RESET: '+RESET\r\n',
  GET: '$-1\r\n',
  EVAL: '$-1\r\n',
  DEL: ':1\r\n',
  EXISTS: ':0\r\n',
  DBSIZE: ':4\r\n',
  TTL: ':-2\r\n',
  TYPE: '+none\r\n',
  COMMAND: '*0\r\n',
  LASTSAVE: ':1717400000\r\n',
  ROLE: '*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n',
  MODULE: '-ERR Error loading the extension. Please check the server logs.\r\n',
  SYNC: '-ERR Can not SYNC, the server is loading\r\n',
  PSYNC: '-ERR Can not SYNC, the server is loading\r\n',
};

function answer(words: readonly string[], talk: Conversation): string {
  const verb = (words[0] ?? '').toUpperCase();
  const version = talk.persona.banners.redis ?? '6.0.16';
  switch (verb) {
    case 'PING':
      return words.length > 1 ? bulk(clip(words[1])) : '+PONG\r\n';
    case 'ECHO':
      return bulk(clip(words[1] ?? ''));
    case 'INFO':
      return bulk(info(version, talk));
    case 'AUTH':
      talk.find(words.length > 2 ? { userName: clip(words[1]), password: clip(words[2]) } : { password: clip(words[1] ?? '') });
      return words.length < 2 ? "-ERR wrong number of arguments for 'auth' command\r\n" : '+OK\r\n';
    case 'HELLO':
      return array(['server', 'redis', 'version', version, 'proto', '2', 'mode', 'standalone', 'role', 'master']);
    case 'KEYS':
      return array(['backup', 'session:1', 'session:2', 'config']);
    case 'SCAN':
      return `*2\r\n${bulk('0')}${array(['backup', 'session:1', 'session:2', 'config'])}`;
    case 'CONFIG': {
      const key = (words[2] ?? '').toLowerCase();
      if ((words[1] ?? '').toUpperCase() !== 'GET') return '+OK\r\n';
      const names = key === '*' ? Object.keys(settings) : Object.hasOwn(settings, key) ? [key] : [];
      return array(names.flatMap((name) => [name, settings[name]]));
    }
    case 'CLIENT':
      return /^LIST$/i.test(words[1] ?? '')
        ? bulk(`id=7 addr=${talk.source.ip}:${talk.source.port} fd=8 name= age=0 idle=0 flags=N db=0\n`)
        : /^ID$/i.test(words[1] ?? '')
          ? ':7\r\n'
          : '+OK\r\n';
    default:
      return Object.hasOwn(plain, verb)
        ? plain[verb]
        : `-ERR unknown command \`${clip(words[0] ?? '', 64).replace(/[\r\n]/g, ' ')}\`, with args beginning with: \r\n`;
  }
}

const dialogue: Dialogue = {
  receive(bytes, talk) {
    const command = parseCommand(bytes);
    if (command === 'more') return 0;
    if (command === 'broken') {
      talk.send('-ERR Protocol error: invalid multibulk length\r\n');
      talk.end();
      return bytes.length;
    }
    if (command.words.length > 0) {
      talk.send(answer(command.words, talk));
      if (command.words[0].toUpperCase() === 'QUIT') talk.end();
    }
    return command.used;
  },
};

export const redis: Responder = { protocol: 'redis', takesAnything: true, open: () => dialogue };
