// Ruleset data to nft text: pure, and strict about every word that goes in, because the text is run by root.
// Running it is nft-apply.ts.

import { WeirError } from '../base/errors.ts';
import type { NftChain, NftExpression, NftOperand, NftRule, NftSet, NftStatement, NftTable, NftVerdict } from './nft-ruleset.ts';

const namePattern = /^[a-z][a-z0-9.-]{0,100}$/;
const devicePattern = /^[^\s/"\\]{1,15}$/;
const wordPattern = /^[A-Za-z0-9@_.,:/ &<>=|-]{1,120}$/;
const quotedPattern = /^[A-Za-z0-9 :;,.=/_()@-]{0,120}$/;

/** Tables as one text for `nft -f`, without the statements that replace the old ones (see nft-apply.ts). */
export const renderTables = (tables: readonly NftTable[]): string => tables.map(renderTable).join('\n');

/** Statements that remove whatever table of this name is there, and succeed when none is. */
export const renderRemoval = (tables: readonly Pick<NftTable, 'family' | 'name'>[]): string =>
  tables.map(({ family, name }) => `table ${family} ${checked(name, namePattern)}\ndelete table ${family} ${name}\n`).join('');

function renderTable(table: NftTable): string {
  const lines = [`table ${table.family} ${checked(table.name, namePattern)} {`, `  comment ${quoted(table.comment)}`];
  for (const set of table.sets) lines.push(...renderSet(set));
  for (const chain of table.chains) lines.push(...renderChain(chain));
  lines.push('}', '');
  return lines.join('\n');
}

function renderSet(set: NftSet): string[] {
  const lines = [`  ${set.data ? 'map' : 'set'} ${checked(set.name, namePattern)} {`];
  lines.push(`    type ${checked(set.type, wordPattern)}${set.data ? ` : ${checked(set.data, wordPattern)}` : ''}`);
  if (set.interval) lines.push('    flags interval');
  if (set.dynamic) lines.push('    flags dynamic,timeout', `    size ${integer(set.dynamic.size)}`);
  if (set.elements.length > 0) {
    const elements = set.elements.map((element) => checked(element, wordPattern));
    lines.push(
      elements.length === 1
        ? `    elements = { ${elements[0]} }`
        : `    elements = {\n      ${elements.join(',\n      ')}\n    }`,
    );
  }
  lines.push('  }');
  return lines;
}

function renderChain(chain: NftChain): string[] {
  const lines = [`  chain ${checked(chain.name, namePattern)} {`];
  if (chain.comment !== undefined) lines.push(`    comment ${quoted(chain.comment)}`);
  if (chain.hook) {
    const { type, hook, device, priority } = chain.hook;
    const on = device === undefined ? '' : ` device "${checked(device, devicePattern)}"`;
    lines.push(`    type ${type} hook ${hook}${on} priority ${integer(priority)}; policy accept;`);
  }
  for (const rule of chain.rules) lines.push(`    ${renderRule(rule)}`);
  lines.push('  }');
  return lines;
}

export const renderRule = (rule: NftRule): string => rule.map(renderStatement).join(' ');

function renderStatement(statement: NftStatement): string {
  switch (statement.do) {
    case 'match':
      return `${renderExpression(statement.left)} ${statement.not ? '!= ' : ''}${renderRight(statement.left, statement.right)}`;
    case 'at-least':
      return `${renderExpression(statement.left)} >= ${integer(statement.value)}`;
    case 'flags': {
      const words = (list: readonly string[]): string => list.map((word) => checked(word, wordPattern)).join(' | ');
      const value = statement.value.length === 0 ? '0x0' : words(statement.value);
      return `${checked(statement.field, wordPattern)} & (${words(statement.mask)}) ${statement.not ? '!=' : '=='} ${value}`;
    }
    case 'set':
      return `${checked(statement.field, wordPattern)} set ${checked(statement.value, wordPattern)}`;
    case 'set-by-map': {
      const map =
        'map' in statement.map
          ? `@${checked(statement.map.map, namePattern)}`
          : `{ ${statement.map.entries.map(([key, value]) => `${constant(key)} : ${checked(value, wordPattern)}`).join(', ')} }`;
      return `${checked(statement.field, wordPattern)} set ${renderExpression(statement.key)} map ${map}`;
    }
    case 'set-xor':
      return `${checked(statement.field, wordPattern)} set ${checked(statement.source, wordPattern)} ^ 0x${integer(statement.key, 16)}`;
    case 'copy':
      return `${checked(statement.field, wordPattern)} set ${checked(statement.from, wordPattern)}`;
    case 'shift-right': {
      const field = checked(statement.field, wordPattern);
      return `${field} set ${field} >> ${integer(statement.bits)}`;
    }
    // The generator yields 32 bits in network order and the field takes the first two bytes: the number must be up there.
    case 'number':
      return `${checked(statement.field, wordPattern)} set numgen ${statement.how} mod 65536 << 16`;
    case 'hide-option':
      return `reset tcp option ${checked(statement.option, wordPattern)}`;
    case 'vmap': {
      const map =
        'map' in statement.map
          ? `@${checked(statement.map.map, namePattern)}`
          : `{ ${statement.map.entries.map(([key, value]) => `${constant(key)} : ${renderVerdict(value)}`).join(', ')} }`;
      return `${renderExpression(statement.key)} vmap ${map}`;
    }
    case 'log':
      return (
        `log prefix ${quoted(statement.prefix)} group ${integer(statement.group)} ` +
        `snaplen ${integer(statement.snaplen)} queue-threshold ${integer(statement.queueThreshold)}`
      );
    case 'remember': {
      const { how, set, key, data, seconds } = statement;
      const time = seconds === undefined ? '' : ` timeout ${integer(seconds)}s`;
      const value = data === undefined ? '' : ` : ${checked(data, wordPattern)}`;
      return `${how} @${checked(set, namePattern)} { ${checked(key, wordPattern)}${time}${value} }`;
    }
    case 'beyond':
      return `limit rate over ${integer(statement.perSecond)}/second burst ${integer(statement.perSecond)} packets`;
    case 'forward':
      return `fwd to "${checked(statement.device, devicePattern)}"`;
    case 'tproxy':
      return statement.family === 4
        ? `tproxy ip to 127.0.0.1:${integer(statement.port)}`
        : `tproxy ip6 to [::1]:${integer(statement.port)}`;
    case 'reject':
      return statement.how === 'tcp-reset' ? 'reject with tcp reset' : 'reject with icmpx port-unreachable';
    case 'notrack':
      return 'notrack';
    case 'counter':
      return 'counter';
    case 'verdict':
      return renderVerdict(statement.verdict);
  }
}

function renderExpression(expression: NftExpression): string {
  if (typeof expression === 'string') return checked(expression, wordPattern);
  const { hash, modulus, seed } = expression;
  return `jhash ${checked(hash, wordPattern)} mod ${integer(modulus)} seed 0x${integer(seed, 16)}`;
}

/** Names of links are quoted: one may be called like a word of nft. */
const renderRight = (left: NftExpression, right: NftOperand): string =>
  (left === 'iifname' || left === 'oifname') && typeof right === 'string'
    ? `"${checked(right, devicePattern)}"`
    : renderOperand(right);

function renderOperand(operand: NftOperand): string {
  if (typeof operand === 'string' || typeof operand === 'number') return constant(operand);
  if ('set' in operand) return `@${checked(operand.set, namePattern)}`;
  return `{ ${operand.map(constant).join(', ')} }`;
}

export function renderVerdict(value: NftVerdict): string {
  if (typeof value === 'string') return value;
  if ('goto' in value) return `goto ${checked(value.goto, namePattern)}`;
  return `jump ${checked(value.jump, namePattern)}`;
}

const constant = (value: string | number): string => (typeof value === 'number' ? integer(value) : checked(value, wordPattern));

const quoted = (text: string): string => `"${checked(text, quotedPattern)}"`;

function integer(value: number, radix = 10): string {
  if (!Number.isSafeInteger(value)) throw new WeirError('fault', `not an integer in a ruleset: ${value}`);
  return value.toString(radix);
}

function checked(text: string, pattern: RegExp): string {
  if (!pattern.test(text)) throw new WeirError('fault', `a word that nft must not see: ${JSON.stringify(text.slice(0, 80))}`);
  return text;
}
