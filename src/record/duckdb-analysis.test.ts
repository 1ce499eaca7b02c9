// The embedded store keeps the analysis part of the contract.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { analysisStoreContract } from './analysis-store-contract.ts';
import { DuckDbStore } from './duckdb-store.ts';

analysisStoreContract('duckdb', async (use) => {
  const dataDirectory = mkdtempSync(join(tmpdir(), 'weir-store-'));
  const store = await DuckDbStore.open({ dataDirectory });
  try {
    await use(store);
  } finally {
    await store.close();
    rmSync(dataDirectory, { recursive: true, force: true });
  }
});
