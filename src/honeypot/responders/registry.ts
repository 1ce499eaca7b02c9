// Every TCP responder by the name detection gives. Adding one: docs/adding-a-responder.md.

import type { Responder } from '../responder.ts';
import { adb } from './adb.ts';
import { ftp } from './ftp.ts';
import { http } from './http.ts';
import { imap } from './imap.ts';
import { modbus, s7 } from './industrial.ts';
import { amqp, dcerpc, dns, smartInstall, sunrpc, zookeeper } from './infrastructure.ts';
import { ajp, jdwp, rmi, t3 } from './java.ts';
import { ldap } from './ldap.ts';
import { memcached } from './memcached.ts';
import { mongodb } from './mongodb.ts';
import { mqtt } from './mqtt.ts';
import { mssql } from './mssql.ts';
import { mysql } from './mysql.ts';
import { pop3 } from './pop3.ts';
import { postgres } from './postgres.ts';
import { rdp } from './rdp.ts';
import { redis } from './redis.ts';
import { rtsp, sip } from './sip.ts';
import { smb } from './smb.ts';
import { smtp } from './smtp.ts';
import { socks4, socks5 } from './socks.ts';
import { ssh } from './ssh.ts';
import { telnet } from './telnet.ts';
import { vnc } from './vnc.ts';
import { fastcgi, http2, jsonRpc } from './web-neighbours.ts';

const all: readonly Responder[] = [
  adb,
  ajp,
  amqp,
  dcerpc,
  dns,
  fastcgi,
  ftp,
  http,
  http2,
  imap,
  jdwp,
  jsonRpc,
  ldap,
  memcached,
  modbus,
  mongodb,
  mqtt,
  mssql,
  mysql,
  pop3,
  postgres,
  rdp,
  redis,
  rmi,
  rtsp,
  s7,
  sip,
  smartInstall,
  smb,
  smtp,
  socks4,
  socks5,
  ssh,
  sunrpc,
  t3,
  telnet,
  vnc,
  zookeeper,
];

export const responders: ReadonlyMap<string, Responder> = new Map(all.map((responder) => [responder.protocol, responder]));
