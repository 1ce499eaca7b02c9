// The store in memory keeps the contract.

import { analysisStoreContract } from './analysis-store-contract.ts';
import { MemoryStore } from './memory-store.ts';
import { storeContract } from './store-contract.ts';

storeContract('memory', (use) => use(new MemoryStore()));
analysisStoreContract('memory', (use) => use(new MemoryStore()));
