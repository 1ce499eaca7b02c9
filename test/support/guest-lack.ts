// Whether a guest can run here. What it takes is in the launcher's list for `./weir test`.

import { accessSync, constants } from 'node:fs';
import path from 'node:path';

const programs = ['qemu-system-x86_64', 'busybox', 'modprobe', 'depmod', 'apt-get', 'dpkg', 'setpriv'];

/** Value for node:test's `skip`: false where a guest can run. Under WEIR_TESTS=required a lack throws instead. */
export function lacksGuest(): string | false {
  const missing = programs.filter((program) => !isInstalled(program));
  const lack = process.arch !== 'x64' ? `an x86-64 machine, this is ${process.arch}` : missing.join(', ');
  if (lack === '') return false;
  if (process.env.WEIR_TESTS === 'required') throw new Error(`WEIR_TESTS=required, but a guest needs ${lack}`);
  return `a guest needs ${lack}`;
}

function isInstalled(program: string): boolean {
  return (process.env.PATH ?? '').split(path.delimiter).some((directory) => {
    try {
      accessSync(path.join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
