// Whether anybody touched the rules of a namespace, without running a program: the generation of its ruleset, and where
// that has moved a digest of our tables as the kernel tells them. What the rules are is nft-read.ts.
// Source: include/uapi/linux/netfilter/nf_tables.h.

import { createHash, type Hash } from 'node:crypto';
import { byteOf, joinBytes, type NetlinkMessage, parseAttributes, textIn } from './netlink-message.ts';
import { familyNumbers } from './nft-elements.ts';
import { type NftFamily, ownTableFamilies, ownTableName } from './nft-ruleset.ts';
import { RouteSocket } from './route-socket.ts';

export interface NftGeneration {
  /** Grows by one with every transaction in the namespace, ours and anybody's. */
  readonly generation: number;
  readonly ownTables: number;
  /** Of our own tables, in the order of ownTableFamilies. */
  readonly families: readonly NftFamily[];
}

export const NETLINK_NETFILTER = 12;
const subsystem = 10 << 8;
const NFT_MSG_NEWTABLE = subsystem | 0;
const NFT_MSG_GETTABLE = subsystem | 1;
const NFT_MSG_GETCHAIN = subsystem | 4;
const NFT_MSG_GETRULE = subsystem | 7;
const NFT_MSG_GETSET = subsystem | 10;
const NFT_MSG_NEWGEN = subsystem | 15;
const NFT_MSG_GETGEN = subsystem | 16;
const NFTA_GEN_ID = 1;
/** The first attribute of tables is their name, of chains, rules and sets the table's. */
const TABLE = 1;

/** struct nfgenmsg. Its last two bytes are the generation in answers, and are no part of what is told. */
const header = (family = 0): Uint8Array => joinBytes([byteOf(family), byteOf(0), new Uint8Array(2)]);
const headerBytes = 4;

function withNftSocket<T>(netns: string | undefined, body: (socket: RouteSocket) => T): T {
  const socket = new RouteSocket(netns, NETLINK_NETFILTER);
  try {
    return body(socket);
  } finally {
    socket.close();
  }
}

const own = (socket: RouteSocket, type: number, what: string): NetlinkMessage[] =>
  socket
    .dump(type, [header()], what)
    .filter(({ body }) => textIn(parseAttributes(body.subarray(headerBytes)).get(TABLE)) === ownTableName);

/** Of the namespace that the socket (of NETLINK_NETFILTER) is in; undefined where the kernel has no nftables. */
export function askGeneration(socket: RouteSocket): number | undefined {
  const answer = socket.get(NFT_MSG_GETGEN, [header()], 'reading the generation of the ruleset');
  if (!answer || answer.type !== NFT_MSG_NEWGEN) return undefined;
  const id = parseAttributes(answer.body.subarray(headerBytes)).get(NFTA_GEN_ID);
  return id && id.length === 4 ? new DataView(id.buffer, id.byteOffset).getUint32(0) : 0;
}

/** Throws `not-found` when there is no such namespace; zero where the kernel has no nftables. */
export const readNftGeneration = (netns: string | undefined): NftGeneration =>
  withNftSocket(netns, (socket) => {
    const generation = askGeneration(socket);
    if (generation === undefined) return { generation: 0, ownTables: 0, families: [] };
    const numbers = new Set(own(socket, NFT_MSG_GETTABLE, 'reading tables').map(({ body }) => body[0]));
    const families = ownTableFamilies.filter((family) => numbers.has(familyNumbers[family]));
    return { generation, ownTables: families.length, families };
  });

/**
 * SHA-256 over our tables, chains, rules and sets, without what is in the sets (nft-elements.ts). The same as long as none
 * of them is replaced, added or removed, even by an equal one.
 */
export const readOwnDigest = (netns: string | undefined): string =>
  withNftSocket(netns, (socket) => {
    const hash = createHash('sha256');
    for (const { type, body } of own(socket, NFT_MSG_GETTABLE, 'reading tables')) {
      // How many use a table is not of its own making.
      if (type === NFT_MSG_NEWTABLE) hash.update(body.subarray(0, 1));
    }
    for (const type of [NFT_MSG_GETCHAIN, NFT_MSG_GETRULE, NFT_MSG_GETSET])
      for (const message of own(socket, type, 'reading rules and sets')) add(hash, message);
    return hash.digest('hex');
  });

function add(hash: Hash, { type, body }: NetlinkMessage): void {
  hash.update(`${type} ${body[0]} `);
  hash.update(body.subarray(headerBytes));
}
