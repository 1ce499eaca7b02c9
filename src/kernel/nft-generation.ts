// How often the ruleset of a namespace was changed, and how many tables of ours are in it: enough to know without running
// a program that nobody touched the rules since. Source: include/uapi/linux/netfilter/nf_tables.h.

import { byteOf, joinBytes, parseAttributes, textIn } from './netlink-message.ts';
import { ownTableName } from './nft-ruleset.ts';
import { RouteSocket } from './route-socket.ts';

export interface NftGeneration {
  /** Grows with every transaction in the namespace, ours and anybody's. */
  readonly generation: number;
  readonly ownTables: number;
}

const NETLINK_NETFILTER = 12;
const subsystem = 10 << 8;
const NFT_MSG_NEWTABLE = subsystem | 0;
const NFT_MSG_GETTABLE = subsystem | 1;
const NFT_MSG_NEWGEN = subsystem | 15;
const NFT_MSG_GETGEN = subsystem | 16;
const NFTA_GEN_ID = 1;
const NFTA_TABLE_NAME = 1;
/** struct nfgenmsg: any family. */
const header = joinBytes([byteOf(0), byteOf(0), new Uint8Array(2)]);

/** Throws `not-found` when there is no such namespace; zero where the kernel has no nftables. */
export function readNftGeneration(netns: string | undefined): NftGeneration {
  const socket = new RouteSocket(netns, NETLINK_NETFILTER);
  try {
    const answer = socket.get(NFT_MSG_GETGEN, [header], 'reading the generation of the ruleset');
    if (!answer || answer.type !== NFT_MSG_NEWGEN) return { generation: 0, ownTables: 0 };
    const id = parseAttributes(answer.body.subarray(4)).get(NFTA_GEN_ID);
    const generation = id && id.length === 4 ? new DataView(id.buffer, id.byteOffset).getUint32(0) : 0;
    const ownTables = socket
      .dump(NFT_MSG_GETTABLE, [header], 'reading tables')
      .filter(
        ({ type, body }) =>
          type === NFT_MSG_NEWTABLE && textIn(parseAttributes(body.subarray(4)).get(NFTA_TABLE_NAME)) === ownTableName,
      ).length;
    return { generation, ownTables };
  } finally {
    socket.close();
  }
}
