// Every TCP responder by the name detection gives. Adding one: docs/adding-a-responder.md.

import type { Responder } from '../responder.ts';
import { ftp } from './ftp.ts';
import { http } from './http.ts';
import { redis } from './redis.ts';
import { ssh } from './ssh.ts';
import { telnet } from './telnet.ts';

export const responders: ReadonlyMap<string, Responder> = new Map(
  [ftp, http, redis, ssh, telnet].map((responder) => [responder.protocol, responder]),
);
