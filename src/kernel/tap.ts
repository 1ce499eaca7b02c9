// A TAP device made in a network namespace, and the descriptor by which frames are put onto it: whoever holds it writes one
// frame at a time (`fs.writeSync`), as if it had come in by the device. Needs /dev/net/tun.
// Sources: Documentation/networking/tuntap.rst, include/uapi/linux/if_tun.h, netdevice(7).

import { constants, openSync } from 'node:fs';
import { WeirError } from '../base/errors.ts';
import { closeDescriptor, controlDevice, insideNetns } from './libc.ts';

const TUNSETIFF = 0x400454ca;
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const device = '/dev/net/tun';

/**
 * The device lives as long as the descriptor or a duplicate of it, and is down at first. The descriptor does not block, and
 * is closed on exec unless it is passed on. Needs CAP_NET_ADMIN. Throws `kernel-missing` without the driver, `not-permitted`,
 * `not-found` without the namespace, `system-call` (EBUSY: somebody holds a device of this name).
 */
export function openTap(netns: string | undefined, name: string): number {
  return insideNetns(netns, () => {
    const fd = openDevice();
    const request = new Uint8Array(40);
    request.set(Buffer.from(name).subarray(0, 15));
    new DataView(request.buffer).setUint16(16, IFF_TAP | IFF_NO_PI, true);
    try {
      controlDevice(fd, TUNSETIFF, request);
    } catch (error) {
      closeDescriptor(fd);
      throw error;
    }
    return fd;
  });
}

function openDevice(): number {
  try {
    return openSync(device, constants.O_RDWR | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new WeirError(
      code === 'EACCES' || code === 'EPERM' ? 'not-permitted' : 'kernel-missing',
      `${device} does not open (${code}): load the module tun, or let this container have the device`,
      { device },
      error,
    );
  }
}
