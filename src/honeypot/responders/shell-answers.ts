// What a small Linux shell would print for the commands bots try first. A table of texts: nothing is parsed deeply,
// nothing executed, nothing fetched. For Telnet, ADB and other shells.

import type { Conversation } from '../responder.ts';

const outputs: Readonly<Record<string, string>> = {
  id: 'uid=0(root) gid=0(root) groups=0(root)',
  whoami: 'root',
  pwd: '/root',
  uptime: ' 10:21:07 up 22 days,  3:14,  1 user,  load average: 0.02, 0.01, 0.00',
  nproc: '2',
  w: 'USER     TTY      FROM             LOGIN@   IDLE   JCPU   PCPU WHAT',
  'cat /proc/cpuinfo':
    'processor\t: 0\nmodel name\t: ARMv7 Processor rev 4 (v7l)\nBogoMIPS\t: 38.40\nFeatures\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4\nHardware\t: Generic DT based system',
  'cat /proc/mounts':
    '/dev/root / squashfs ro,relatime 0 0\nproc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\ntmpfs /tmp tmpfs rw,nosuid,nodev,relatime 0 0\ntmpfs /var tmpfs rw,relatime 0 0',
  mount: '/dev/root on / type squashfs (ro,relatime)\nproc on /proc type proc (rw)\ntmpfs on /tmp type tmpfs (rw)',
  ls: '',
  'ls /': 'bin   dev   etc   home  lib   mnt   proc  root  sbin  sys   tmp   usr   var',
  ps: '  PID USER       VSZ STAT COMMAND\n    1 root      1236 S    init\n   88 root      1240 S    /sbin/syslogd -n\n  141 root      1232 S    telnetd\n  212 root      1244 S    -sh',
  free: '              total         used         free       shared      buffers\nMem:         61432        38212        23220            0         3104',
};

const silent =
  /^(?:enable|system|shell|sh|linuxshell|bash|su|cd|export|unset|chmod|rm|mkdir|kill|killall|history|ulimit|set|wget|curl|tftp|ftpget|nohup|true|echo)\b/;

/** Output without a trailing newline; empty for commands that print nothing. */
export function shellAnswer(line: string, talk: Pick<Conversation, 'host' | 'persona'>): string {
  const command = line.trim().slice(0, 1024);
  if (command === '') return '';
  // Bots chain: every part answers, a dozen at most.
  const parts = command.split(/;|&&|\|\|/, 12).map((part) => part.trim());
  return parts
    .map((part) => one(part, talk))
    .filter((text) => text !== '')
    .join('\n');
}

function one(command: string, talk: Pick<Conversation, 'host' | 'persona'>): string {
  if (Object.hasOwn(outputs, command)) return outputs[command];
  const busybox = /^(?:\/bin\/)?busybox(?:\s+(\S+))?/.exec(command);
  if (busybox) {
    const applet = busybox[1];
    if (applet === undefined) return 'BusyBox v1.24.1 (2019-03-12 08:54:11 UTC) multi-call binary.';
    const rest = command.slice(command.indexOf(applet));
    return silent.test(applet) || Object.hasOwn(outputs, applet) || applet === 'cat'
      ? one(rest, talk)
      : `${applet.slice(0, 64)}: applet not found`;
  }
  const echo = /^echo\s+(?:-[ne]+\s+)*(["']?)(.*)\1$/.exec(command);
  if (echo && !echo[2].includes('>')) return printed(echo[2]);
  if (/^uname\b/.test(command))
    return /-\w*[am]/.test(command) ? `Linux ${talk.host} 3.10.14 #1 SMP PREEMPT armv7l GNU/Linux` : 'Linux';
  if (/^hostname\b/.test(command)) return talk.host;
  if (/^cat\s/.test(command)) return `cat: ${command.slice(4, 68).trim().split(/\s/)[0]}: No such file or directory`;
  if (silent.test(command)) return '';
  return `-sh: ${command.split(/\s/)[0].slice(0, 64)}: not found`;
}

const printed = (text: string): string =>
  text
    .replaceAll(/\\x([0-9a-fA-F]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)))
    .replaceAll('\\n', '\n');
