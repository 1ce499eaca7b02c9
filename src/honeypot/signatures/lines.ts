// Line protocols told by their command words: SMTP, IMAP, POP3, FTP, Redis' inline commands.
// Words that several of them share count only on a port that is usually theirs.

import { commands, firstBytes, firstLine, type Signature } from '../signature.ts';

const imapVerbs = new Set([
  'CAPABILITY',
  'LOGIN',
  'AUTHENTICATE',
  'STARTTLS',
  'LOGOUT',
  'NOOP',
  'ID',
  'NAMESPACE',
  'SELECT',
  'EXAMINE',
  'LIST',
  'LSUB',
  'STATUS',
  'ENABLE',
]);

export const lineSignatures: readonly Signature[] = [
  {
    protocol: 'imap',
    first: firstBytes('0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.*'),
    test(bytes, hint) {
      const space = bytes.subarray(0, 24).indexOf(0x20);
      if (space < 1 || space > 20) return 'no';
      const tag = bytes.toString('latin1', 0, space);
      // A tag without a digit is some other protocol's command unless this is IMAP's port.
      if (!/^[A-Za-z0-9.*]+$/.test(tag) || (hint !== 'imap' && !/\d/.test(tag) && tag !== '.' && tag !== '*')) return 'no';
      const line = firstLine(bytes, 512) ?? '';
      if (line === '') return bytes.length < 64 && hint === 'imap' ? 'more' : 'no';
      return imapVerbs.has((line.slice(space + 1).split(' ', 1)[0] ?? '').toUpperCase()) ? 'match' : 'no';
    },
  },
  commands(
    'smtp',
    ['EHLO', 'HELO', 'LHLO', 'MAIL', 'RCPT', 'VRFY', 'EXPN', 'STARTTLS', 'ETRN'],
    ['HELP', 'NOOP', 'RSET', 'QUIT', 'AUTH', 'DATA'],
    {
      hints: ['submission'],
    },
  ),
  commands(
    'pop3',
    ['CAPA', 'APOP', 'UIDL', 'STLS'],
    ['USER', 'PASS', 'STAT', 'LIST', 'RETR', 'TOP', 'NOOP', 'QUIT', 'AUTH', 'DELE', 'RSET', 'HELP'],
  ),
  // Before FTP, which takes USER on every other port.
  commands(
    'redis',
    [
      'PING',
      'INFO',
      'CONFIG',
      'KEYS',
      'FLUSHALL',
      'FLUSHDB',
      'SLAVEOF',
      'REPLICAOF',
      'EVAL',
      'COMMAND',
      'CLIENT',
      'MODULE',
      'SELECT',
      'DBSIZE',
      'BGSAVE',
      'MONITOR',
      'CLUSTER',
      'PSYNC',
      'REPLCONF',
    ],
    ['AUTH', 'HELLO', 'GET', 'SET', 'DEL', 'ECHO', 'QUIT', 'SAVE', 'TYPE', 'TIME', 'EXISTS', 'HELP'],
  ),
  commands(
    'ftp',
    [
      'USER',
      'SYST',
      'FEAT',
      'PASV',
      'EPSV',
      'PORT',
      'EPRT',
      'RETR',
      'STOR',
      'CWD',
      'PWD',
      'SITE',
      'MKD',
      'RMD',
      'RNFR',
      'ADAT',
      'PBSZ',
      'ALLO',
      'ACCT',
    ],
    [
      'PASS',
      'AUTH',
      'TYPE',
      'LIST',
      'NLST',
      'NOOP',
      'QUIT',
      'HELP',
      'STAT',
      'DELE',
      'OPTS',
      'HOST',
      'SIZE',
      'MODE',
      'STRU',
      'ABOR',
      'CLNT',
    ],
  ),
];
