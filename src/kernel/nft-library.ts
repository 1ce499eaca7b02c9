// nft in this process, by the library that the program itself is made of: starting a program from a large process costs more
// than most transactions. Synchronous, so for short texts; nft-apply.ts decides. Only ever given our own text.
// Source: libnftables(3).

import koffi from 'koffi';
import { insideNetns } from './libc.ts';

interface Library {
  readonly open: () => unknown;
  readonly close: (context: unknown) => void;
  readonly bufferOutput: (context: unknown) => number;
  readonly bufferErrors: (context: unknown) => number;
  readonly errors: (context: unknown) => string | null;
  readonly run: (context: unknown, text: string) => number;
}

let library: Library | undefined;
let lookedFor = false;

/** The soname has been the same since nftables 0.9.1; where it is missing, the program does the work. */
function findLibrary(): Library | undefined {
  if (lookedFor) return library;
  lookedFor = true;
  try {
    const loaded = koffi.load('libnftables.so.1');
    const open = loaded.func('void *nft_ctx_new(uint32_t)');
    library = {
      open: () => open(0),
      close: loaded.func('void nft_ctx_free(void *)'),
      bufferOutput: loaded.func('int nft_ctx_buffer_output(void *)'),
      bufferErrors: loaded.func('int nft_ctx_buffer_error(void *)'),
      errors: loaded.func('const char *nft_ctx_get_error_buffer(void *)'),
      run: loaded.func('int nft_run_cmd_from_buffer(void *, const char *)'),
    };
  } catch {
    library = undefined;
  }
  return library;
}

/**
 * Runs a transaction in a namespace. Empty: done; else nft's words, and nothing of it was done. Undefined when there is no
 * library here. Throws `not-found` when there is no such namespace.
 */
export function runNftInProcess(netns: string | undefined, text: string): string | undefined {
  const nft = findLibrary();
  if (!nft) return undefined;
  return insideNetns(netns, () => {
    // Its netlink socket is opened with it, in the namespace this thread is in.
    const context = nft.open();
    if (context === null) return undefined;
    try {
      nft.bufferOutput(context);
      nft.bufferErrors(context);
      if (nft.run(context, text) === 0) return '';
      return nft.errors(context) || 'refused without a word';
    } finally {
      nft.close(context);
    }
  });
}
