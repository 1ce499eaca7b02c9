// The self-test's near end: the agent connects to its own listener like an attacker would, from its own address, says something and
// tells where it came from. Never to anybody else, whatever the gateway asks.

import dgram from 'node:dgram';
import net from 'node:net';
import type { AgentMessage } from '../model/agent.ts';
import type { Endpoint } from '../model/session.ts';
import type { TouchRequest } from '../relay/link/link-client-options.ts';
import { endpointOf, renderEndpoint } from '../relay/own-addresses.ts';

type Touched = Extract<AgentMessage, { kind: 'touched' }>;

const timeoutMs = 5000;
const maxPayloadBytes = 4096;

/** `isOwn`: this agent listens there now. Never rejects. */
export async function touchOwnDecoy(
  request: TouchRequest,
  isOwn: (transport: 'tcp' | 'udp', destination: Endpoint) => boolean,
): Promise<Touched> {
  const { id, transport, ip, port } = request;
  const payload = Buffer.from(request.payload);
  if (!isOwn(transport, { ip, port }))
    return { kind: 'touched', id, error: `${renderEndpoint({ ip, port })} is none of my decoys` };
  if (payload.length > maxPayloadBytes) return { kind: 'touched', id, error: `more than ${maxPayloadBytes} bytes to send` };
  try {
    const from = await (transport === 'tcp' ? touchTcp : touchUdp)({ ip, port }, payload);
    return { kind: 'touched', id, from: renderEndpoint(from) };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return { kind: 'touched', id, error: code ?? message };
  }
}

const withoutName = (): Error => new Error('the socket has no address');

/** Reads what the decoy says for a moment, as a client does, and closes. */
function touchTcp({ ip, port }: Endpoint, payload: Buffer): Promise<Endpoint> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: ip, port, localAddress: ip });
    let from: Endpoint | undefined;
    const timer = setTimeout(() => socket.destroy(from ? undefined : new Error('not connected in time')), timeoutMs);
    socket.once('connect', () => {
      from = endpointOf(socket.localAddress, socket.localPort);
      socket.end(payload);
      socket.resume();
    });
    socket.once('error', (error) => {
      if (!from) reject(error);
    });
    socket.once('close', () => {
      clearTimeout(timer);
      if (from) resolve(from);
      else reject(withoutName());
    });
  });
}

function touchUdp({ ip, port }: Endpoint, payload: Buffer): Promise<Endpoint> {
  return new Promise((resolve, reject) => {
    const socket = dgram.createSocket(ip.includes(':') ? 'udp6' : 'udp4');
    socket.once('error', (error) => {
      socket.close();
      reject(error);
    });
    socket.bind({ address: ip, port: 0, exclusive: true }, () => {
      const { address, port: own } = socket.address();
      socket.send(payload, port, ip, (error) => {
        socket.close();
        const from = endpointOf(address, own);
        if (error) reject(error);
        else if (from) resolve(from);
        else reject(withoutName());
      });
    });
  });
}
