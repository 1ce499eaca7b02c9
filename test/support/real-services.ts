// Real services in a namespace of their own, behind a wire of the sensor's: OpenSSH, nginx that expects a PROXY header, and an
// echo of datagrams. For tests of what is relayed.

import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type NamespaceLab, type TestNamespace, until } from '../../src/kernel/namespace-lab.ts';
import { lacksProgram } from './namespace.ts';

/** Of the service's machine, and the ports of what runs there. */
export const realService = {
  address: '10.200.0.9',
  from: '10.200.0.2',
  decoys: '10.64.0.128/28',
  ssh: 2222,
  web: 8080,
  plain: 8088,
  echo: 9999,
} as const;

export const lacksRealServices = (): string | false =>
  lacksProgram('sshd', 'openssh-server') ||
  lacksProgram('ssh-keyscan', 'openssh-client') ||
  lacksProgram('nginx', 'nginx-light') ||
  lacksProgram('socat', 'socat');

export interface RealServices {
  readonly machine: TestNamespace;
  /** The server's public key, `ssh-ed25519 AAAA..`. */
  readonly hostKey: string;
}

/** `directory` is the test's own; the lab ends what runs. */
export async function openRealServices(lab: NamespaceLab, sensor: TestNamespace, directory: string): Promise<RealServices> {
  const machine = await lab.namespace('v');
  await lab.join(
    { namespace: sensor, link: 'wire0', addresses: ['10.200.0.1/24'] },
    { namespace: machine, link: 'eth0', addresses: [`${realService.address}/24`] },
  );
  // As a service that is dialled as the attacker: it owns decoys, and answers by way of Weir.
  await machine.ip(`route add local ${realService.decoys} dev lo\nroute add default via ${realService.from}\n`);
  const file = (name: string): string => path.join(directory, name);
  await machine.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', file('host-key')]);
  const { stdout } = await machine.run(['ssh-keygen', '-y', '-f', file('host-key')]);
  writeFileSync(
    file('sshd.conf'),
    `Port ${realService.ssh}\nHostKey ${file('host-key')}\nPidFile none\nUsePAM no\nPasswordAuthentication yes\n`,
  );
  mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
  machine.spawn(['/usr/sbin/sshd', '-D', '-e', '-f', file('sshd.conf')]);
  writeFileSync(
    file('nginx.conf'),
    `daemon off; master_process off; pid ${file('nginx.pid')}; error_log ${file('nginx.err')};
events {}
http {
  access_log off;
  client_body_temp_path ${file('body')}; proxy_temp_path ${file('proxy')}; fastcgi_temp_path ${file('fastcgi')};
  uwsgi_temp_path ${file('uwsgi')}; scgi_temp_path ${file('scgi')};
  server {
    listen ${realService.web} proxy_protocol;
    return 200 "$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port\\n";
  }
  server {
    listen ${realService.plain};
    return 200 "$remote_addr:$remote_port $server_addr:$server_port\\n";
  }
}
`,
  );
  machine.spawn(['nginx', '-c', file('nginx.conf'), '-p', directory]);
  machine.spawn(['socat', `UDP4-RECVFROM:${realService.echo},fork,reuseaddr`, 'EXEC:cat']);
  const listens = async (flag: string, port: number): Promise<boolean> =>
    (await machine.run(['ss', '-Hln', flag, `sport = :${port}`])).stdout.trim() !== '';
  await until('sshd listens', () => listens('-t', realService.ssh));
  await until('nginx listens', () => listens('-t', realService.web));
  await until('the echo listens', () => listens('-u', realService.echo));
  return { machine, hostKey: stdout.trim().split(' ').slice(0, 2).join(' ') };
}
