// Debian's own kernel, unpacked for a guest: the package that linux-image-amd64 depends on, kept below `.weir-setup/guest/`
// by version, without the drivers no guest of ours has. Nothing is installed. The machine itself is guest.ts.

import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { runCommand } from '../../src/kernel/namespace-lab.ts';
import { initramfsOf } from './guest-initramfs.ts';

export interface GuestKernel {
  /** As `uname -r` says it in the guest. */
  readonly version: string;
  /** bzImage. */
  readonly image: string;
  /** Uncompressed cpio archive that mounts the host's root. */
  readonly initramfs: string;
  /** What /lib/modules is in the guest: one folder, named after the version. */
  readonly modules: string;
}

/** Goes up when what is kept per version changes: older caches are then made anew. */
const layout = 4;
const metaPackage = 'linux-image-amd64';

/** Module folders that a guest without hardware needs; files directly in drivers/net are virtual devices for the most part. */
const keptFolders = [
  /^net\//,
  /^lib\//,
  /^crypto\//,
  /^arch\//,
  /^fs\/(9p|fscache|netfs|overlayfs)\//,
  /^drivers\/(virtio|char)\//,
  /^drivers\/net\/([^/]+|(vxlan|wireguard|bonding|ipvlan)\/[^/]+)$/,
];

/**
 * The kernel for this machine's guests, from the cache or from Debian: then one download of about 70 MB by apt-get, bounded
 * at five minutes. Several may prepare at once. Rejects when apt does not know the package and nothing is kept.
 */
export async function prepareGuestKernel(cache: string): Promise<GuestKernel> {
  await mkdir(cache, { recursive: true });
  const wanted = await packageName();
  const kept = (await readdir(cache)).filter((name) => name.startsWith(`${layout}-`)).sort();
  const name = wanted === undefined ? kept.at(-1) : `${layout}-${wanted.replace(/^linux-image-/, '')}`;
  if (name === undefined)
    throw new Error(`apt does not know ${metaPackage}: is this Debian on amd64, and has apt-get update run?`);
  const place = path.join(cache, name);
  if (!existsSync(place)) await unpackInto(place, wanted as string);
  const version = name.slice(`${layout}-`.length);
  return {
    version,
    image: path.join(place, 'vmlinuz'),
    initramfs: path.join(place, 'initramfs.cpio'),
    modules: path.join(place, 'lib/modules'),
  };
}

/** The package that holds the current kernel; undefined when apt does not know, also after an update. */
async function packageName(): Promise<string | undefined> {
  const ask = async (): Promise<string | undefined> => {
    const { stdout } = await runCommand(['apt-cache', 'depends', '--important', metaPackage], { anyCode: true });
    return /Depends: (linux-image-\S+)/.exec(stdout)?.[1];
  };
  const known = await ask();
  if (known !== undefined) return known;
  await runCommand(['apt-get', 'update', '-qq'], { anyCode: true, timeoutMs: 120_000 });
  return ask();
}

async function unpackInto(place: string, name: string): Promise<void> {
  const work = await mkdtemp(path.join(path.dirname(place), 'new-'));
  try {
    const download = () => runCommand(['apt-get', 'download', '-qq', name], { cwd: work, timeoutMs: 240_000 });
    // The package lists may be older than the mirror.
    await download().catch(async () => {
      await runCommand(['apt-get', 'update', '-qq'], { anyCode: true, timeoutMs: 120_000 });
      await download();
    });
    const archive = (await readdir(work)).find((file) => file.endsWith('.deb'));
    if (archive === undefined) throw new Error(`apt-get download ${name} left no package`);
    const tree = path.join(work, 'tree');
    await runCommand(['dpkg', '-x', path.join(work, archive), tree], { timeoutMs: 120_000 });
    const [version] = await readdir(path.join(tree, 'lib/modules'));
    const done = path.join(work, 'done');
    const modules = path.join(done, 'lib/modules', version);
    await mkdir(path.join(done, 'lib/modules'), { recursive: true });
    await rename(path.join(tree, 'boot', `vmlinuz-${version}`), path.join(done, 'vmlinuz'));
    await rename(path.join(tree, 'lib/modules', version), modules);
    await prune(path.join(modules, 'kernel'));
    await runCommand(['depmod', '-b', done, version], { timeoutMs: 60_000 });
    await writeFile(path.join(done, 'initramfs.cpio'), await initramfsOf(modules));
    // Whoever was faster wins: both made the same.
    await rename(done, place).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Removes the modules that no guest needs: nine tenths of the tree. */
async function prune(kernel: string): Promise<void> {
  const files = (await readdir(kernel, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  for (const entry of files) {
    const file = path.join(entry.parentPath, entry.name);
    if (!keptFolders.some((folder) => folder.test(path.relative(kernel, file)))) await rm(file);
  }
}
