// The store in memory keeps the contract.

import { MemoryStore } from './memory-store.ts';
import { storeContract } from './store-contract.ts';

storeContract('memory', (use) => use(new MemoryStore()));
