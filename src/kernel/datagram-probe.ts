// One datagram from an address, sent in a network namespace to see what comes of it: an answer, an ICMP message that refuses it, or nothing. Ends by
// itself. That nothing comes is no sign of anything: what an outcome means is netops/doctor.
// Sources: udp(7), ip(7) and ipv6(7) (IP_RECVERR: every ICMP error is told, not those alone that are fatal).

import { createSocket } from 'node:dgram';
import { renderAddress } from '../model/address.ts';
import { bindFirstFree, type ConnectOutcome, type ConnectProbe, resultOf } from './connect-probe.ts';
import {
  AF_INET,
  AF_INET6,
  closeDescriptor,
  insideNetns,
  openSocket,
  readSocketName,
  SOCK_DGRAM,
  setSocketOption,
} from './libc.ts';
import { socketPort } from './socket-address.ts';

const IPPROTO_IP = 0;
const IP_RECVERR = 11;
const IPPROTO_IPV6 = 41;
const IPV6_RECVERR = 25;
const emptyLine = Buffer.from('\r\n');

/** `connected` is an answer. As probeConnect; `lingerMs` means nothing here. */
export async function probeDatagram(probe: ConnectProbe): Promise<ConnectOutcome> {
  const { from, to, port, timeoutMs = 1500 } = probe;
  const four = to.family === 4;
  const { fd, sourcePort } = insideNetns(probe.netns, () => {
    const made = openSocket(four ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
    try {
      setSocketOption(made, four ? IPPROTO_IP : IPPROTO_IPV6, four ? IP_RECVERR : IPV6_RECVERR, 1);
      bindFirstFree(made, from, probe.fromPorts ?? { first: 0, last: 0 });
    } catch (error) {
      closeDescriptor(made);
      throw error;
    }
    const own = new Uint8Array(28);
    readSocketName(made, own);
    return { fd: made, sourcePort: socketPort(own) };
  });
  const begun = performance.now();
  const socket = createSocket(four ? 'udp4' : 'udp6');
  return await new Promise((resolve) => {
    const end = (result: ConnectOutcome['result'], more: Pick<ConnectOutcome, 'errno'> & { bytes?: number } = {}): void => {
      clearTimeout(timer);
      socket.removeAllListeners();
      socket.on('error', () => {});
      socket.close();
      const { errno, bytes = 0 } = more;
      const ms = Math.round(performance.now() - begun);
      resolve({ result, ...(errno !== undefined && { errno }), sourcePort, receivedBytes: bytes, ms });
    };
    const timer = setTimeout(() => end('timeout'), timeoutMs);
    const failed = (error: NodeJS.ErrnoException): void => end(resultOf(error.code), { errno: error.code ?? 'unknown' });
    socket.on('error', failed);
    socket.on('message', (bytes) => end('connected', { bytes: bytes.length }));
    socket.on('connect', () => socket.send(emptyLine, (error) => error && failed(error)));
    socket.on('listening', () => socket.connect(port, renderAddress(to)));
    socket.bind({ fd });
  });
}
