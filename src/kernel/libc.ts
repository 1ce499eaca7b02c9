// System calls through the C library of this process, 64-bit little-endian Linux only. Owns argument layout and the
// errno -> WeirError step; holds no state of its own. What a socket is for is the other files' matter.
// Node has no raw, netlink, packet or SCM_RIGHTS sockets: that is why this file exists.

import { closeSync, openSync } from 'node:fs';
import { endianness, constants as osConstants } from 'node:os';
import koffi from 'koffi';
import { WeirError } from '../base/errors.ts';

const library = koffi.load(null);
if (endianness() !== 'LE' || koffi.sizeof('void *') !== 8)
  throw new WeirError('kernel-missing', 'Weir needs a 64-bit little-endian machine', { arch: process.arch });

type Pointer = Uint8Array | null;

const calls = {
  socket: library.func('int socket(int, int, int)') as (domain: number, type: number, protocol: number) => number,
  bind: library.func('int bind(int, void *, uint32_t)') as (fd: number, address: Pointer, length: number) => number,
  connect: library.func('int connect(int, void *, uint32_t)') as (fd: number, address: Pointer, length: number) => number,
  listen: library.func('int listen(int, int)') as (fd: number, backlog: number) => number,
  accept4: library.func('int accept4(int, void *, void *, int)') as (
    fd: number,
    address: Pointer,
    length: Pointer,
    flags: number,
  ) => number,
  getsockname: library.func('int getsockname(int, void *, void *)') as (fd: number, address: Pointer, length: Pointer) => number,
  setsockopt: library.func('int setsockopt(int, int, int, void *, uint32_t)') as (
    fd: number,
    level: number,
    name: number,
    value: Pointer,
    length: number,
  ) => number,
  getsockopt: library.func('int getsockopt(int, int, int, void *, void *)') as (
    fd: number,
    level: number,
    name: number,
    value: Pointer,
    length: Pointer,
  ) => number,
  sendto: library.func('intptr_t sendto(int, void *, size_t, int, void *, uint32_t)') as (
    fd: number,
    bytes: Pointer,
    length: number,
    flags: number,
    address: Pointer,
    addressLength: number,
  ) => number,
  sendmsg: library.func('intptr_t sendmsg(int, void *, int)') as (fd: number, message: Pointer, flags: number) => number,
  sendmmsg: library.func('int sendmmsg(int, void *, uint32_t, int)') as (
    fd: number,
    messages: Pointer,
    count: number,
    flags: number,
  ) => number,
  recv: library.func('intptr_t recv(int, void *, size_t, int)') as (
    fd: number,
    bytes: Pointer,
    length: number,
    flags: number,
  ) => number,
  recvmsg: library.func('intptr_t recvmsg(int, void *, int)') as (fd: number, message: Pointer, flags: number) => number,
  recvmmsg: library.func('int recvmmsg(int, void *, uint32_t, int, void *)') as (
    fd: number,
    messages: Pointer,
    count: number,
    flags: number,
    timeout: Pointer,
  ) => number,
  setns: library.func('int setns(int, int)') as (fd: number, kind: number) => number,
  ioctl: library.func('int ioctl(int, unsigned long, void *)') as (fd: number, request: number, argument: Pointer) => number,
  flock: library.func('int flock(int, int)') as (fd: number, operation: number) => number,
  fcntl: library.func('int fcntl(int, int, int)') as (fd: number, command: number, argument: number) => number,
  sched_setscheduler: library.func('int sched_setscheduler(int, int, void *)') as (
    pid: number,
    policy: number,
    parameters: Pointer,
  ) => number,
  shutdown: library.func('int shutdown(int, int)') as (fd: number, how: number) => number,
  close: library.func('int close(int)') as (fd: number) => number,
  epoll_create1: library.func('int epoll_create1(int)') as (flags: number) => number,
  epoll_ctl: library.func('int epoll_ctl(int, int, int, void *)') as (
    epoll: number,
    operation: number,
    fd: number,
    event: Pointer,
  ) => number,
  epoll_wait: library.func('int epoll_wait(int, void *, int, int)') as (
    epoll: number,
    events: Pointer,
    count: number,
    timeoutMs: number,
  ) => number,
  mount: library.func('int mount(const char *, const char *, const char *, unsigned long, void *)') as (
    source: string,
    target: string,
    type: string,
    flags: number,
    data: Pointer,
  ) => number,
  umount2: library.func('int umount2(const char *, int)') as (target: string, flags: number) => number,
  socketpair: library.func('int socketpair(int, int, int, void *)') as (
    domain: number,
    type: number,
    protocol: number,
    pair: Pointer,
  ) => number,
  poll: library.func('int poll(void *, unsigned long, int)') as (entries: Pointer, count: number, timeoutMs: number) => number,
  prctl: library.func('int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)') as (
    option: number,
    second: number,
    third: number,
    fourth: number,
    fifth: number,
  ) => number,
  clock_gettime: library.func('int clock_gettime(int, void *)') as (clock: number, into: Pointer) => number,
};

const errnoNames = new Map(Object.entries(osConstants.errno).map(([name, value]) => [value, name]));

/** `EAGAIN` for 11 and so on; unknown numbers as `errno 999`. */
export const errnoName = (errno: number): string => errnoNames.get(errno) ?? `errno ${errno}`;

/** A failed call as WeirError: `not-permitted` for EPERM and EACCES, else `system-call`. details: `{call, errno, ...}`. */
export function callFailed(call: string, errno: number, details: Record<string, unknown> = {}): WeirError {
  const name = errnoName(errno);
  const code = name === 'EPERM' || name === 'EACCES' ? 'not-permitted' : 'system-call';
  return new WeirError(code, `${call} failed: ${name}`, { call, errno: name, ...details });
}

const checked = (call: string, result: number, details?: Record<string, unknown>): number => {
  if (result < 0) throw callFailed(call, koffi.errno(), details);
  return result;
};

/** Results of the calls that may fail in ordinary running: zero or more, or the negated errno. */
const negated = (result: number): number => (result < 0 ? -koffi.errno() : result);

const { errno: E } = osConstants;
export const EAGAIN = E.EAGAIN;
export const EINTR = E.EINTR;
export const ENOBUFS = E.ENOBUFS;
export const EMFILE = E.EMFILE;
/** Not in Node's table of errno constants on every platform; Linux: include/uapi/asm-generic/errno-base.h. */
export const ENFILE = E.ENFILE;

// include/uapi/asm-generic/socket.h, include/linux/socket.h
export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const AF_PACKET = 17;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_SEQPACKET = 5;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_LINGER = 13;
export const SO_PEERCRED = 17;
export const SO_ATTACH_FILTER = 26;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;
export const SO_RXQ_OVFL = 40;
export const SO_MEMINFO = 55;
export const SO_COOKIE = 57;
export const SO_ERROR = 4;
export const MSG_PEEK = 0x02;
export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;
export const MSG_CTRUNC = 0x08;
export const MSG_TRUNC = 0x20;
export const MSG_CMSG_CLOEXEC = 0x40000000;
export const SCM_RIGHTS = 1;

export const openSocket = (domain: number, type: number, protocol: number): number =>
  checked('socket', calls.socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol), { domain, type, protocol });

/** Two connected Unix sockets, both CLOEXEC. */
export function openSocketPair(type: number): [number, number] {
  const pair = new Int32Array(2);
  checked('socketpair', calls.socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, new Uint8Array(pair.buffer)));
  return [pair[0], pair[1]];
}

/** Waits, with this thread, until it can be read (or written); false: the time is up first. An error or hang-up counts as both. */
export function waitForDescriptor(fd: number, what: 'read' | 'write', timeoutMs: number): boolean {
  const entry = new DataView(new ArrayBuffer(8));
  entry.setInt32(0, fd, true);
  entry.setInt16(4, what === 'read' ? 1 : 4, true);
  return calls.poll(new Uint8Array(entry.buffer), 1, Math.max(0, Math.ceil(timeoutMs))) > 0;
}

/** For good, for this thread and what it starts: no program gives it more than it has. See PR_SET_NO_NEW_PRIVS(2const). */
export const forgoNewPrivileges = (): void => void checked('prctl', calls.prctl(38, 1, 0, 0, 0));

export const bindSocket = (fd: number, address: Uint8Array): void =>
  void checked('bind', calls.bind(fd, address, address.length));

/** As `bindSocket`; 0, or the negated errno. */
export const tryBindSocket = (fd: number, address: Uint8Array): number => negated(calls.bind(fd, address, address.length));

/** 0, or the negated errno. */
export const connectSocket = (fd: number, address: Uint8Array): number => negated(calls.connect(fd, address, address.length));

export const listenSocket = (fd: number, backlog: number): void => void checked('listen', calls.listen(fd, backlog));

export function setSocketOption(fd: number, level: number, name: number, value: number | Uint8Array): void {
  const bytes = typeof value === 'number' ? optionValueOf(value) : value;
  checked('setsockopt', calls.setsockopt(fd, level, name, bytes, bytes.length), { level, name });
}

/** As `trySocketOption`, with a value of any length. */
export const trySocketBytes = (fd: number, level: number, name: number, value: Uint8Array): boolean =>
  calls.setsockopt(fd, level, name, value, value.length) === 0;

/** False instead of throwing: for options an older kernel or a smaller privilege lacks. */
export function trySocketOption(fd: number, level: number, name: number, value: number): boolean {
  return calls.setsockopt(fd, level, name, optionValueOf(value), 4) === 0;
}

const optionValue = new Int32Array(1);
const optionValueBytes = new Uint8Array(optionValue.buffer);

/** Good for one call. */
function optionValueOf(value: number): Uint8Array {
  optionValue[0] = value;
  return optionValueBytes;
}

const optionLength = new Uint32Array(1);
const optionLengthBytes = new Uint8Array(optionLength.buffer);

/** Length written into `into`, or the negated errno. No allocation: for the path of every connection. */
export function readSocketOption(fd: number, level: number, name: number, into: Uint8Array): number {
  optionLength[0] = into.length;
  const result = calls.getsockopt(fd, level, name, into, optionLengthBytes);
  return result < 0 ? -koffi.errno() : optionLength[0];
}

/** Writes the socket's own address into `into` (struct sockaddr_in or sockaddr_in6); its length or the negated errno. */
export function readSocketName(fd: number, into: Uint8Array): number {
  optionLength[0] = into.length;
  const result = calls.getsockname(fd, into, optionLengthBytes);
  return result < 0 ? -koffi.errno() : optionLength[0];
}

/**
 * The next connection's descriptor (nonblocking, CLOEXEC) with the peer's address written into `peer`, or the negated
 * errno. Unlike getpeername afterwards this also tells who it was when the client has reset it meanwhile.
 */
export function acceptConnection(fd: number, peer: Uint8Array | null): number {
  optionLength[0] = peer?.length ?? 0;
  const result = calls.accept4(fd, peer, peer ? optionLengthBytes : null, SOCK_NONBLOCK | SOCK_CLOEXEC);
  return result < 0 ? -koffi.errno() : result;
}

/** Bytes sent, or the negated errno. */
export const sendTo = (fd: number, bytes: Uint8Array, address: Uint8Array | null): number =>
  negated(calls.sendto(fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL, address, address?.length ?? 0));

/** Bytes received, or the negated errno. */
export const receive = (fd: number, into: Uint8Array): number => negated(calls.recv(fd, into, into.length, MSG_DONTWAIT));

/** As `receive`; what was read stays in the queue. */
export const peek = (fd: number, into: Uint8Array): number => negated(calls.recv(fd, into, into.length, MSG_DONTWAIT | MSG_PEEK));

/** `message` is a struct msghdr. Bytes sent, or the negated errno. */
export const sendMessage = (fd: number, message: Uint8Array): number =>
  negated(calls.sendmsg(fd, message, MSG_DONTWAIT | MSG_NOSIGNAL));

/** `message` is a struct msghdr. Bytes received, or the negated errno. Descriptors received are CLOEXEC. */
export const receiveMessage = (fd: number, message: Uint8Array): number =>
  negated(calls.recvmsg(fd, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));

/** `messages` are struct mmsghdr. Messages received, or the negated errno. */
export const receiveMessages = (fd: number, messages: Uint8Array, count: number): number =>
  negated(calls.recvmmsg(fd, messages, count, MSG_DONTWAIT, null));

/** `messages` are struct mmsghdr. Messages sent, or the negated errno. */
export const sendMessages = (fd: number, messages: Uint8Array, count: number): number =>
  negated(calls.sendmmsg(fd, messages, count, MSG_DONTWAIT));

export const controlDevice = (fd: number, request: number, argument: Uint8Array): void =>
  void checked('ioctl', calls.ioctl(fd, request, argument), { request });

/** False instead of throwing: for devices that may be gone. */
export const tryControlDevice = (fd: number, request: number, argument: Uint8Array): boolean =>
  calls.ioctl(fd, request, argument) >= 0;

/** A descriptor of the network namespace a socket lives in (SIOCGSKNS, needs CAP_NET_ADMIN there), or the negated errno. */
export const openSocketNetns = (fd: number): number => negated(calls.ioctl(fd, 0x894c, null));

const NS_GET_NSTYPE = 0xb703;
const CLONE_NEWNET = 0x40000000;

/** Whether an open file is a network namespace: other kinds are files of the same file system. ioctl_ns(2) */
export const isNetworkNamespace = (fd: number): boolean => calls.ioctl(fd, NS_GET_NSTYPE, null) === CLONE_NEWNET;

/** F_DUPFD_CLOEXEC: a second descriptor of the same open file. */
export const duplicate = (fd: number): number => checked('fcntl', calls.fcntl(fd, 1030, 0));

/** Sends a FIN; reading goes on. Never throws: a peer that is already gone is told nothing. */
export const shutdownWriting = (fd: number): void => void calls.shutdown(fd, 1);

/** What went wrong on a socket since it was last asked (SO_ERROR); 0: nothing. */
export function takeSocketError(fd: number): number {
  const result = readSocketOption(fd, SOL_SOCKET, SO_ERROR, socketErrorBytes);
  return result < 0 ? -result : socketError[0];
}
const socketError = new Int32Array(1);
const socketErrorBytes = new Uint8Array(socketError.buffer);

/** A new epoll instance; see epoll(7). */
export const openEpoll = (): number => checked('epoll_create1', calls.epoll_create1(0o2000000));

/** `event` is a struct epoll_event. 0, or the negated errno. */
export const controlEpoll = (epoll: number, operation: 1 | 2 | 3, fd: number, event: Uint8Array | null): number =>
  negated(calls.epoll_ctl(epoll, operation, fd, event));

/** Events ready now, at most `count`, written into `events`; does not wait. Or the negated errno. */
export const readEpoll = (epoll: number, events: Uint8Array, count: number): number =>
  negated(calls.epoll_wait(epoll, events, count, 0));

/** Never throws: a descriptor that is already gone is nothing to act upon. */
export const closeDescriptor = (fd: number): void => void calls.close(fd);

/** Closes with a RST instead of a FIN, without waiting: for connections that are shed. */
export function resetConnection(fd: number): void {
  calls.setsockopt(fd, SOL_SOCKET, SO_LINGER, resetOnClose, 8);
  calls.close(fd);
}
const resetOnClose = new Uint8Array(new Int32Array([1, 0]).buffer);

/** Where a buffer lies. It stays there as long as the buffer is referenced: the caller keeps it in a field. */
export const addressOf = (bytes: Uint8Array): bigint => koffi.address(bytes);

/** The kernel's identity of a socket (SO_COOKIE), as text: the same for every duplicate of a descriptor. */
export function socketCookie(fd: number): string {
  const bytes = new Uint8Array(8);
  const length = readSocketOption(fd, SOL_SOCKET, SO_COOKIE, bytes);
  if (length < 0) throw callFailed('getsockopt', -length, { name: 'SO_COOKIE' });
  return new DataView(bytes.buffer).getBigUint64(0, true).toString(16);
}

/** MS_BIND: `target`, a file or directory that exists, shows `source` from now on. Needs CAP_SYS_ADMIN. See mount(2). */
export const bindMount = (source: string, target: string): void =>
  void checked('mount', calls.mount(source, target, 'none', 0x1000, null), { source, target });

/** MNT_DETACH: takes the topmost mount off `target`. False when nothing is mounted there. See umount2(2). */
export function detachMount(target: string): boolean {
  if (calls.umount2(target, 2) === 0) return true;
  const failed = koffi.errno();
  if (failed === E.EINVAL || failed === E.ENOENT) return false;
  throw callFailed('umount2', failed, { target });
}

/** LOCK_EX | LOCK_NB: false when somebody else holds it. Goes with the last descriptor of this opening. See flock(2). */
export function tryLockFile(fd: number): boolean {
  const result = negated(calls.flock(fd, 2 | 4));
  if (result < 0 && result !== -EAGAIN) throw callFailed('flock', -result);
  return result === 0;
}

const SCHED_IDLE = 5;

/** From now on this thread runs when nothing else wants the processor; see sched(7). False where that is refused. */
export const runWhenIdle = (): boolean => calls.sched_setscheduler(0, SCHED_IDLE, new Uint8Array(4)) === 0;

/**
 * Runs `body` with this thread inside another network namespace (a path such as /run/netns/NAME; undefined: where we
 * are). Synchronous: nothing else of this thread can run in between. Needs CAP_SYS_ADMIN. Should the way back fail the
 * process is aborted: it must not go on in a place it does not know.
 */
export function insideNetns<T>(path: string | undefined, body: () => T): T {
  if (path === undefined) return body();
  const home = openSync('/proc/thread-self/ns/net', 'r');
  let target: number;
  try {
    target = openSync(path, 'r');
  } catch (error) {
    closeSync(home);
    throw new WeirError('not-found', `no network namespace at ${path}`, { path }, error);
  }
  let entered = false;
  try {
    checked('setns', calls.setns(target, CLONE_NEWNET), { path });
    entered = true;
    return body();
  } finally {
    if (entered && calls.setns(home, CLONE_NEWNET) !== 0) process.abort();
    closeSync(home);
    closeSync(target);
  }
}

const CLOCK_REALTIME = 0;
const timespec = new BigInt64Array(2);
const timespecBytes = new Uint8Array(timespec.buffer);

/**
 * Microseconds since 1970 by the clock the kernel stamps packets with, as exact as it: steps with it, also back. For what is
 * compared with times of packets; events have base/clock.ts. clock_gettime(2)
 */
export function readPacketClock(): number {
  checked('clock_gettime', calls.clock_gettime(CLOCK_REALTIME, timespecBytes));
  return Number(timespec[0]) * 1_000_000 + Math.floor(Number(timespec[1]) / 1000);
}
