// Reads diverted datagrams in batches with their true source and original destination. One per socket; the bytes it
// shows are its buffers, valid until the next read. Opening is tproxy-socket.ts.

import {
  AF_INET,
  AF_INET6,
  EAGAIN,
  EINTR,
  MSG_CTRUNC,
  readSocketOption,
  receiveMessages,
  SO_MEMINFO,
  SOL_SOCKET,
} from './libc.ts';
import { findControl, MessageBatch } from './message-header.ts';

const SOL_IP = 0;
const SOL_IPV6 = 41;
const IP_ORIGDSTADDR = 20;
const IPV6_ORIGDSTADDR = 74;

/** `names` and `control` hold sockaddr_in or sockaddr_in6 at the given places; the payload is `data[dataAt..]`. */
export type DatagramVisitor = (
  names: Uint8Array,
  nameAt: number,
  control: Uint8Array,
  destinationAt: number,
  data: Uint8Array,
  dataAt: number,
  length: number,
) => void;

/** Room for one read; shared by readers of one thread, each of which shows it before the next reads. */
export const createDatagramBuffers = (count = 16): MessageBatch =>
  new MessageBatch({ count, nameBytes: 28, dataBytes: 65_536, controlBytes: 128 });

export class UdpReader {
  readonly fd: number;
  readonly #batch: MessageBatch;
  /** Datagrams without an original destination or with cut ancillary data: not one of ours. */
  malformed = 0;

  constructor(fd: number, buffers = createDatagramBuffers()) {
    this.fd = fd;
    this.#batch = buffers;
  }

  /** Reads one batch; the number read, 0 when nothing is there, or the negated errno. */
  read(visit: DatagramVisitor): number {
    const batch = this.#batch;
    const { count, nameBytes, dataBytes, controlBytes } = batch.shape;
    batch.reset(count);
    const got = receiveMessages(this.fd, batch.headers, count);
    if (got < 0) return got === -EAGAIN || got === -EINTR ? 0 : got;
    for (let index = 0; index < got; index += 1) {
      const nameAt = index * nameBytes;
      const family = batch.names[nameAt];
      const six = family === AF_INET6;
      const at =
        batch.flags(index) & MSG_CTRUNC || (!six && family !== AF_INET)
          ? -1
          : findControl(
              batch.control,
              index * controlBytes,
              batch.controlLength(index),
              six ? SOL_IPV6 : SOL_IP,
              six ? IPV6_ORIGDSTADDR : IP_ORIGDSTADDR,
            );
      if (at < 0) this.malformed += 1;
      else visit(batch.names, nameAt, batch.control, at, batch.data, index * dataBytes, batch.length(index));
    }
    return got;
  }
}

const memoryInfo = new Uint32Array(9);
const memoryInfoBytes = new Uint8Array(memoryInfo.buffer);

/** What the kernel dropped on this socket for want of room since it was opened; for UDP, packet and netlink sockets. */
export function readSocketDrops(fd: number): number {
  return readSocketOption(fd, SOL_SOCKET, SO_MEMINFO, memoryInfoBytes) >= 36 ? memoryInfo[8] : 0;
}
