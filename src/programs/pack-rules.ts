// The build's last step: packs the rules that come with Weir, so that no start has to read and check them. What is written there is
// analysis/signatures/packed-rules.ts.

import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { renderPackedRules } from '../analysis/signatures/packed-rules.ts';
import { readRuleFiles } from '../analysis/signatures/rule-files.ts';
import { packedRulesFile } from './recorder-analysis.ts';

const home = path.resolve(import.meta.dirname, '../../..');
const file = path.join(home, packedRulesFile);
mkdirSync(path.dirname(file), { recursive: true });
writeFileSync(`${file}.new`, renderPackedRules(readRuleFiles([path.join(home, 'rules/signatures')]).files));
renameSync(`${file}.new`, file);
