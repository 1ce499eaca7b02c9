import type { BenchReport, Say } from './bench.ts';
export const benchDecoys = async (_say: Say): Promise<BenchReport> => ({ text: '', json: {} });
