// Asks FRR's daemons and tells them changes, by vtysh(1) over the sockets of one instance. Answers are bounded and taken
// as what a daemon in an attacker's hands might say.

import type { CommandRunner } from './command.ts';
import type { FrrFiles, FrrProgram } from './frr-daemon.ts';

const timeoutMs = 5000;

/** The JSON a `show ... json` command prints, or undefined while the daemon does not answer. */
export async function askFrr(runner: CommandRunner, files: FrrFiles, program: FrrProgram, command: string): Promise<unknown> {
  const { code, stdout } = await runner.run(
    'vtysh',
    ['--vty_socket', files.sockets, '--config_dir', files.directory, '-d', program, '-c', command],
    { anyCode: true, timeoutMs },
  );
  if (code !== 0) return undefined;
  try {
    return JSON.parse(stdout);
  } catch {
    return undefined;
  }
}

/** Lines of configuration, carried out one by one while the daemon works. Throws `kernel-refused` with FRR's own words. */
export async function tellFrr(
  runner: CommandRunner,
  files: FrrFiles,
  program: FrrProgram,
  lines: readonly string[],
): Promise<void> {
  const commands = ['configure terminal', ...lines].flatMap((line) => ['-c', line]);
  await runner.run('vtysh', ['--vty_socket', files.sockets, '--config_dir', files.directory, '-d', program, ...commands], {
    timeoutMs,
  });
}
