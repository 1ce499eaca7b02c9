// The rules a Docker engine writes for one bridge and one published port, in the shape its iptables driver gives them.

export interface DockerRules {
  readonly target?: string;
  readonly publishedPort?: number;
  readonly containerPort?: number;
  /** In DOCKER-USER, in front of its RETURN. */
  readonly user?: readonly string[];
  /** In table raw, as version 28 protects containers from being reached by their own address. */
  readonly raw?: readonly string[];
}

/** A shell script for the host of the containers; bridge br-lab, 172.18.0.0/16. */
export const dockerRules = ({
  target = '172.18.0.2',
  publishedPort = 8080,
  containerPort = 80,
  user = [],
  raw = [],
}: DockerRules = {}): string =>
  `iptables-nft-restore <<X
${raw.length > 0 ? `*raw\n:PREROUTING ACCEPT [0:0]\n${raw.map((rule) => `-A PREROUTING ${rule}\n`).join('')}COMMIT\n` : ''}*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.18.0.0/16 ! -o br-lab -j MASQUERADE
-A DOCKER -i br-lab -j RETURN
-A DOCKER ! -i br-lab -p tcp -m tcp --dport ${publishedPort} -j DNAT --to-destination ${target}:${containerPort}
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o br-lab -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o br-lab -j DOCKER
-A FORWARD -i br-lab ! -o br-lab -j ACCEPT
-A FORWARD -i br-lab -o br-lab -j ACCEPT
-A DOCKER -d ${target}/32 ! -i br-lab -o br-lab -p tcp -m tcp --dport ${containerPort} -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i br-lab ! -o br-lab -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o br-lab -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
${user.map((rule) => `-A DOCKER-USER ${rule}\n`).join('')}-A DOCKER-USER -j RETURN
COMMIT
X`;
