// The first root of a guest: busybox, the modules it takes to reach the host's root over 9p, and a script that puts a memory
// overlay on it and goes there. The archive is written here (cpio "newc", Documentation/driver-api/early-userspace of Linux).

import { readFile } from 'node:fs/promises';
import path from 'node:path';

/** Modules of the first root, by name; what they depend on comes along. */
const rootModules = ['virtio_pci', 'virtio_console', '9pnet_virtio', '9p', 'overlay'];
/** Loaded there too: later each would be fetched over 9p by a program of its own when something first asks for it. */
const networkModules = [
  // libcrc32c asks for it by a name that only modprobe understands.
  'crc32c_generic',
  ...['8021q', 'bridge', 'macvlan', 'veth', 'vxlan', 'inet_diag', 'tcp_diag', 'udp_diag', 'af_packet_diag'],
  ...['nf_tables', 'nft_chain_nat', 'nft_ct', 'nft_dup_netdev', 'nft_fib_inet', 'nft_fwd_netdev', 'nft_hash', 'nft_limit'],
  ...['nft_log', 'nft_numgen', 'nft_quota', 'nft_reject_inet', 'nft_socket', 'nft_tproxy'],
  ...['nf_conntrack_netlink', 'nf_log_syslog', 'nfnetlink_log'],
];
const firstModules = [...rootModules, ...networkModules];

/** Where the exchange with the host is mounted in the guest. */
export const exchangePlace = '/run/weir-guest';

const script = (modules: readonly string[]): string => `#!/bin/busybox sh
bb=/bin/busybox
$bb mount -t proc proc /proc
for module in ${modules.join(' ')}; do $bb insmod /modules/$module || echo "weir-guest: $module does not load"; done
p9=trans=virtio,version=9p2000.L,msize=512000
$bb mount -t 9p -o $p9,ro,cache=loose host /host || exec $bb reboot -f
$bb mount -t tmpfs -o mode=755 tmpfs /over
$bb mkdir /over/upper /over/work
$bb mount -t overlay -o lowerdir=/host,upperdir=/over/upper,workdir=/over/work overlay /root || exec $bb reboot -f
for place in proc sys dev run; do $bb mkdir -p /root/$place; done
$bb mount -t sysfs sysfs /root/sys
$bb mount -t devtmpfs devtmpfs /root/dev
$bb mkdir -p /root/dev/pts /root/dev/shm
$bb mount -t devpts devpts /root/dev/pts
$bb mount -t tmpfs -o mode=1777 tmpfs /root/dev/shm
$bb mount -t tmpfs -o mode=755 tmpfs /root/run
$bb mkdir -p /root${exchangePlace} /root/run/netns /root/run/lock
$bb mount -t 9p -o $p9,cache=none exchange /root${exchangePlace} || exec $bb reboot -f
$bb umount /proc
$bb mount -t proc proc /root/proc
exec $bb switch_root /root /bin/sh ${exchangePlace}/start.sh
`;

/** One member of the archive. */
interface Member {
  readonly name: string;
  /** Type and permissions, as in stat(2). */
  readonly mode: number;
  readonly data: Uint8Array;
  /** Of a character device. */
  readonly device?: readonly [major: number, minor: number];
}

const directory = (name: string): Member => ({ name, mode: 0o040755, data: new Uint8Array() });

/** The archive for the kernel whose modules are in `modules` (a folder named after the version, with modules.dep). */
export async function initramfsOf(modules: string): Promise<Buffer> {
  const files = loadOrder(await readFile(path.join(modules, 'modules.dep'), 'utf8'));
  const members: Member[] = [
    ...['bin', 'modules', 'proc', 'host', 'over', 'root', 'dev'].map(directory),
    { name: 'dev/console', mode: 0o020600, data: new Uint8Array(), device: [5, 1] },
    { name: 'bin/busybox', mode: 0o100755, data: await readFile('/bin/busybox') },
    { name: 'init', mode: 0o100755, data: Buffer.from(script(files.map((file) => path.basename(file)))) },
  ];
  for (const file of files)
    members.push({
      name: `modules/${path.basename(file)}`,
      mode: 0o100644,
      data: await readFile(path.join(modules, file)),
    });
  return renderArchive(members);
}

/** Files of the first modules in the order insmod needs. modules.dep names a module's dependencies last first. */
export function loadOrder(dependencies: string): string[] {
  const lines = dependencies.split('\n').map((line) => line.split(/:? +|:$/).filter((part) => part !== ''));
  const order: string[] = [];
  for (const name of firstModules) {
    const line = lines.find(([file]) => file !== undefined && path.basename(file, '.ko').replaceAll('-', '_') === name);
    if (!line) throw new Error(`the kernel has no module ${name}`);
    for (const file of visit(line[0], lines)) if (!order.includes(file)) order.push(file);
  }
  return order;
}

/** modules.dep flattens dependencies without an order that is promised, so each is visited in turn. */
function visit(file: string, lines: readonly string[][], seen: readonly string[] = []): string[] {
  if (seen.includes(file)) return [];
  const [, ...needs] = lines.find(([name]) => name === file) ?? [file];
  return [...new Set([...needs.flatMap((need) => visit(need, lines, [...seen, file])), file])];
}

function renderArchive(members: readonly Member[]): Buffer {
  const parts: Buffer[] = [];
  for (const [index, member] of [...members, { name: 'TRAILER!!!', mode: 0, data: new Uint8Array() } as Member].entries()) {
    const name = Buffer.from(`${member.name}\0`);
    const [major, minor] = member.device ?? [0, 0];
    // inode, mode, uid, gid, links, mtime, size, device, device of the node, length of the name, checksum (none).
    const numbers = [index + 1, member.mode, 0, 0, 1, 0, member.data.length, 0, 0, major, minor, name.length, 0];
    const header = `070701${numbers.map((number) => number.toString(16).padStart(8, '0')).join('')}`;
    parts.push(padded(Buffer.concat([Buffer.from(header), name])), padded(Buffer.from(member.data)));
  }
  return Buffer.concat(parts);
}

const padded = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
