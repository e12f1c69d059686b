// Translates one ARMv6-M instruction into JavaScript source.
//
// The source runs inside a function that blocks.mjs wraps around it. It sees
//   r            Int32Array, r0 to r15
//   f            Int32Array, the flags' sources: N is f[0] < 0, Z is f[1] == 0, C is f[2] (0 or 1), V is f[3] < 0
//   a b s t x    temporaries
//   k            cycles that the function took before the block's first instruction (a loop goes round inside it)
//   S8 S16 S32   SRAM as bytes, halfwords, words; F8 F16 F32 the flash
//   H            functions that blocks share
//   P            one byte for each 64 bytes of SRAM: not 0 where translated code was read from; wrote(offset) forgets it
//   isQuick quickRead quickWrite   the processor's own peripherals, which answer at once and change nothing else
//   primask setPrimask sync read8.. write8.. accessCycles jump system   the slow paths, from executor.mjs
// An exit is `return k + cycles` with r[15] set. Cycle counts are those of the Cortex-M0+ manual with zero-wait memory;
// whatever is not plain memory exits the function after the instruction, so that time and interrupts stay exact.
import { SRAM_SIZE, SRAM_START } from './memory.mjs';

const FLAG_BITS = { n: 1, z: 2, c: 4, v: 8 };
export const ALL_FLAGS = 15;

/** True when `op` is the first halfword of a 32-bit instruction. */
export const isWide = (op) => op >>> 11 >= 0b11101;

// ---- building blocks: every one returns the description that `translate` completes -------------------

const plain = (code, cycles = 1) => ({ code, cycles });
const logical = (d, expression) => ({
  code: `x = ${expression}; r[${d}] = x;`, cycles: 1, flags: { n: 'x', z: 'x' },
});
const SUM = { n: 'x', z: 'x', c: '+((x >>> 0) < (a >>> 0))', v: '(a ^ x) & (b ^ x)' };
const DIFFERENCE = { n: 'x', z: 'x', c: '+((a >>> 0) >= (b >>> 0))', v: '(a ^ b) & (a ^ x)' };
const store = (d) => (d < 0 ? '' : ` r[${d}] = x;`);
const add = (d, a, b) => ({ code: `a = ${a}; b = ${b}; x = (a + b) | 0;${store(d)}`, cycles: 1, flags: SUM });
const subtract = (d, a, b) => ({ code: `a = ${a}; b = ${b}; x = (a - b) | 0;${store(d)}`, cycles: 1, flags: DIFFERENCE });
const branchTo = (target) => ({ code: `r[15] = ${target};`, cycles: 2, ends: true });

/** The instruction that a shared function stands for: its address and the cycles before it are parameters. */
const SYMBOLIC = { pc: 'pc', next: '(pc + 2)', at: 'at', inline: false };

/**
 * Code that touches memory is long. A block that runs often has it written out (`inline`); the others call a function that is
 * made from the same source and shared by all of them, which returns 0, or the cycles with which the block must be left.
 */
function memoryAccess(i, names, values, template) {
  if (i.inline) {
    return template(i, ...values);
  }
  const parameters = [...names, 'pc', 'at'].join(', ');
  return `if (t = ${i.shared(parameters, template(SYMBOLIC, ...names))}(${[...values, i.pc, i.at].join(', ')})) return t;`;
}

/** The processor's own peripherals answer in one cycle where memory takes two. */
const quick = (i, code) => (i.inline
  ? `else if (isQuick(a)) { ${code} k--; }`
  : `else if (isQuick(a)) { ${code} r[15] = ${i.next}; return ${i.at} + 1; }`);

/** A load of one register, from SRAM, flash, or whatever else the address means. */
function load(i, d, address, width, signed = false) {
  const mask = width / 8 - 1, shift = width >> 4;
  const extend = signed ? (value) => `${value} << ${32 - width} >> ${32 - width}` : (value) => value;
  const aligned = mask ? ` && !(a & ${mask})` : '';
  const template = (at, to, from) => `a = ${from}; t = (a - ${SRAM_START}) | 0;
if ((t >>> 0) < ${SRAM_SIZE}${aligned}) r[${to}] = ${extend(`S${width}[t >> ${shift}]`)};
else if ((a >>> 21) === 128${aligned}) r[${to}] = ${extend(`F${width}[(a & 0x1fffff) >> ${shift}]`)};
${width === 32 ? quick(at, `r[${to}] = quickRead(a);`) : ''}
else { r[15] = ${at.pc}; sync(${at.at}); x = read${width}(a); r[${to}] = ${extend('x')};
r[15] = ${at.next}; return ${at.at} + accessCycles(a, false); }`;
  return { code: memoryAccess(i, ['d', 'address'], [d, address], template), cycles: 2, exits: true };
}

/** A store of one register. A store into translated code leaves the function, as that may be the running code itself. */
function save(i, d, address, width) {
  const mask = width / 8 - 1, shift = width >> 4;
  const aligned = mask ? ` && !(t & ${mask})` : '';
  const template = (at, from, to) => `a = ${to}; t = (a - ${SRAM_START}) | 0;
if ((t >>> 0) < ${SRAM_SIZE}${aligned}) { S${width}[t >> ${shift}] = r[${from}];
if (P[t >> 6]) { wrote(t); r[15] = ${at.next}; return ${at.at} + 2; } }
${width === 32 ? quick(at, `quickWrite(a, r[${from}]);`) : ''}
else { r[15] = ${at.pc}; sync(${at.at}); write${width}(a, r[${from}]);
r[15] = ${at.next}; return ${at.at} + accessCycles(a, true); }`;
  return { code: memoryAccess(i, ['d', 'address'], [d, address], template), cycles: 2, exits: true };
}

const bits = (list) => [...Array(16).keys()].filter((n) => list >> n & 1);

/** LDM and POP: `writeBack` is the register that ends up behind the last word, or -1. */
function loadMultiple(i, base, list, writeBack, popsPC) {
  const registers = bits(list), words = registers.length + (popsPC ? 1 : 0), cycles = 1 + words + (popsPC ? 2 : 0);
  const from = (memory, index) => registers.map((n, w) => `r[${n}] = ${memory}[${index} + ${w}];`).join(' ')
    + (popsPC ? ` x = ${memory}[${index} + ${registers.length}];` : '');
  const slow = registers.map((n, w) => `${n === base ? 's' : `r[${n}]`} = read32(a + ${4 * w});`).join(' ')
    + (popsPC ? ` x = read32(a + ${4 * registers.length});` : '') + (registers.includes(base) ? ` r[${base}] = s;` : '');
  const update = writeBack < 0 ? '' : `r[${writeBack}] = a + ${4 * words};`;
  const template = (at) => `a = r[${base}]; t = (a - ${SRAM_START}) | 0;
if ((t >>> 0) <= ${SRAM_SIZE - 4 * words} && !(t & 3)) { s = t >> 2; ${from('S32', 's')} }
else if ((a >>> 21) === 128 && !(a & 3)) { s = (a & 0x1fffff) >> 2; ${from('F32', 's')} }
else { r[15] = ${at.pc}; sync(${at.at}); ${slow} ${popsPC ? '' : `${update} r[15] = ${at.next}; return ${at.at} + ${cycles};`} }
${update}${popsPC ? ` return ${at.at} + ${cycles} + jump(x, ${at.at});` : ''}`;
  return { code: memoryAccess(i, [], [], template), cycles, exits: true, ends: popsPC, closed: popsPC };
}

/** STM and PUSH. */
function saveMultiple(i, address, list, writeBack, value) {
  const registers = bits(list), words = registers.length, cycles = 1 + words;
  const to = registers.map((n, w) => `S32[s + ${w}] = r[${n}];`).join(' ');
  const slow = registers.map((n, w) => `write32(a + ${4 * w}, r[${n}]);`).join(' ');
  const template = (at) => `a = ${address}; t = (a - ${SRAM_START}) | 0;
if ((t >>> 0) <= ${SRAM_SIZE - 4 * words} && !(t & 3)) { s = t >> 2; ${to} r[${writeBack}] = ${value};
if (P[t >> 6] | P[(t + ${4 * words - 4}) >> 6]) { wrote(t); wrote(t + ${4 * words - 4});
r[15] = ${at.next}; return ${at.at} + ${cycles}; } }
else { r[15] = ${at.pc}; sync(${at.at}); ${slow} r[${writeBack}] = ${value}; r[15] = ${at.next}; return ${at.at} + ${cycles}; }`;
  return { code: memoryAccess(i, [], [], template), cycles, exits: true };
}

/** What the processor itself must do (special registers, hints, breakpoints, undefined instructions). */
const system = (i, cycles) => ({
  code: `r[15] = ${i.pc}; sync(${i.at}); system(${i.op}, ${i.op2}, ${i.pc}); return ${i.at} + ${cycles};`,
  cycles, exits: true, ends: true, closed: true,
});

/** CPS and MSR PRIMASK; leaves the function if that lets an interrupt in. */
const primask = (i, masked, cycles) => ({
  code: `if (setPrimask(${masked})) { sync(${i.at}); r[15] = ${i.next}; return ${i.at} + ${cycles}; }`,
  cycles, exits: true,
});

// ---- the instruction set, by the top five bits ---------------------------------------------------------

const shiftImmediate = [
  (d, m, n) => (n === 0
    ? logical(d, `r[${m}]`)
    : { code: `a = r[${m}]; x = a << ${n}; r[${d}] = x;`, cycles: 1, flags: { n: 'x', z: 'x', c: `a >>> ${32 - n} & 1` } }),
  (d, m, n) => ({ code: `a = r[${m}]; x = ${n ? `a >>> ${n}` : '0'}; r[${d}] = x;`, cycles: 1,
    flags: { n: 'x | 0', z: 'x', c: `a >>> ${(n || 32) - 1} & 1` } }),
  (d, m, n) => ({ code: `a = r[${m}]; x = a >> ${n || 31}; r[${d}] = x;`, cycles: 1,
    flags: { n: 'x', z: 'x', c: `a >> ${(n || 32) - 1} & 1` } }),
];

/** Shifts by a register: a count of 0 leaves the carry alone, 32 and more have their own results. */
function shiftRegister(d, m, expression, carry) {
  return { code: `a = r[${d}]; s = r[${m}] & 255; x = ${expression}; r[${d}] = x;`, cycles: 1, uses: FLAG_BITS.c,
    flags: { n: 'x', z: 'x', c: `s === 0 ? f[2] : ${carry}` } };
}

const dataProcessing = [
  (d, m) => logical(d, `r[${d}] & r[${m}]`),
  (d, m) => logical(d, `r[${d}] ^ r[${m}]`),
  (d, m) => shiftRegister(d, m, 's < 32 ? a << s : 0', 's < 32 ? a >>> (32 - s) & 1 : s === 32 ? a & 1 : 0'),
  (d, m) => shiftRegister(d, m, '(s < 32 ? a >>> s : 0) | 0', 's <= 32 ? a >>> (s - 1) & 1 : 0'),
  (d, m) => shiftRegister(d, m, 'a >> (s < 32 ? s : 31)', 'a >> (s < 32 ? s - 1 : 31) & 1'),
  (d, m) => ({ code: `a = r[${d}]; b = r[${m}]; s = f[2]; x = (a + b + s) | 0; r[${d}] = x;`, cycles: 1, uses: FLAG_BITS.c,
    flags: { n: 'x', z: 'x', c: '+((a >>> 0) + (b >>> 0) + s > 0xffffffff)', v: '(a ^ x) & (b ^ x)' } }),
  (d, m) => ({ code: `a = r[${d}]; b = r[${m}]; s = 1 - f[2]; x = (a - b - s) | 0; r[${d}] = x;`, cycles: 1, uses: FLAG_BITS.c,
    flags: { n: 'x', z: 'x', c: '+((a >>> 0) >= (b >>> 0) + s)', v: '(a ^ b) & (a ^ x)' } }),
  (d, m) => shiftRegister(d, m, 'a >>> (s & 31) | a << (-s & 31)', 'x >>> 31'),
  (d, m) => ({ code: `x = r[${d}] & r[${m}];`, cycles: 1, flags: { n: 'x', z: 'x' } }),
  (d, m) => subtract(d, '0', `r[${m}]`),
  (d, m) => subtract(-1, `r[${d}]`, `r[${m}]`),
  (d, m) => add(-1, `r[${d}]`, `r[${m}]`),
  (d, m) => logical(d, `r[${d}] | r[${m}]`),
  (d, m) => logical(d, `Math.imul(r[${d}], r[${m}])`),
  (d, m) => logical(d, `r[${d}] & ~r[${m}]`),
  (d, m) => logical(d, `~r[${m}]`),
];

function highRegister(i) {
  const { op } = i, m = op >> 3 & 15, d = op & 7 | op >> 4 & 8;
  const value = (n) => (n === 15 ? `${i.pc + 4}` : `r[${n}]`);
  const write = (expression) => (d === 15
    ? branchTo(`(${expression}) & ~1`)
    : plain(`r[${d}] = ${d === 13 ? `(${expression}) & ~3` : expression};`));
  switch (op >> 8 & 3) {
    case 0: return write(`${value(d)} + ${value(m)}`);
    case 1: return subtract(-1, value(d), value(m));
    case 2: return write(value(m));
    default: {
      const link = op & 0x80 ? `r[14] = ${i.pc + 3};` : '';
      return { code: `x = ${value(m)}; ${link} return ${i.at} + 2 + jump(x, ${i.at});`, cycles: 2, ends: true, closed: true };
    }
  }
}

function loadStoreRegister(i) {
  const { op } = i, d = op & 7, address = `(r[${op >> 3 & 7}] + r[${op >> 6 & 7}]) | 0`;
  switch (op >> 9 & 7) {
    case 0: return save(i, d, address, 32);
    case 1: return save(i, d, address, 16);
    case 2: return save(i, d, address, 8);
    case 3: return load(i, d, address, 8, true);
    case 4: return load(i, d, address, 32);
    case 5: return load(i, d, address, 16);
    case 6: return load(i, d, address, 8);
    default: return load(i, d, address, 16, true);
  }
}

function loadLiteral(i) {
  const d = i.op >> 8 & 7, address = (i.pc + 4 & ~3) + 4 * (i.op & 255);
  const value = i.constant(address);
  return value === undefined ? load(i, d, `${address}`, 32) : plain(`r[${d}] = ${value};`, 2);
}

function miscellaneous(i) {
  const { op } = i, d = op & 7, m = op >> 3 & 7, low = `r[${m}]`;
  if (op >> 8 === 0xb0) {
    return plain(`r[13] = r[13] ${op & 0x80 ? '-' : '+'} ${4 * (op & 127)};`);
  }
  if ((op & 0xfe00) === 0xb400) {
    const list = op & 255 | (op & 0x100 ? 1 << 14 : 0), bytes = 4 * bits(list).length;
    return saveMultiple(i, `(r[13] - ${bytes}) | 0`, list, 13, 'a');
  }
  if ((op & 0xfe00) === 0xbc00) {
    return loadMultiple(i, 13, op & 255, 13, (op & 0x100) !== 0);
  }
  switch (op >> 6) {
    case 0b1011001000: return plain(`r[${d}] = ${low} << 16 >> 16;`);
    case 0b1011001001: return plain(`r[${d}] = ${low} << 24 >> 24;`);
    case 0b1011001010: return plain(`r[${d}] = ${low} & 0xffff;`);
    case 0b1011001011: return plain(`r[${d}] = ${low} & 0xff;`);
    case 0b1011101000: return plain(`a = ${low}; r[${d}] = a << 24 | (a & 0xff00) << 8 | a >> 8 & 0xff00 | a >>> 24;`);
    case 0b1011101001: return plain(`a = ${low}; r[${d}] = (a & 0xff00ff) << 8 | a >>> 8 & 0xff00ff;`);
    case 0b1011101011: return plain(`a = ${low}; r[${d}] = (a << 8 & 0xff00 | a >> 8 & 0xff) << 16 >> 16;`);
  }
  if (op === 0xbf00 || op === 0xbf10) {
    return plain('');
  }
  if (op === 0xb672 || op === 0xb662) {
    return primask(i, op === 0xb672, 1);
  }
  return system(i, op === 0xbf20 || op === 0xbf30 ? 2 : 1);
}

const CONDITIONS = [
  'f[1] === 0', 'f[1] !== 0', 'f[2] !== 0', 'f[2] === 0', 'f[0] < 0', 'f[0] >= 0', 'f[3] < 0', 'f[3] >= 0',
  'f[2] !== 0 && f[1] !== 0', 'f[2] === 0 || f[1] === 0', '(f[0] ^ f[3]) >= 0', '(f[0] ^ f[3]) < 0',
  'f[1] !== 0 && (f[0] ^ f[3]) >= 0', 'f[1] === 0 || (f[0] ^ f[3]) < 0',
];

/** In a block that runs often, a taken branch back to its own start goes round inside the function while time allows. */
const leaveTo = (i, target, cycles) => (i.inline && target === i.start
  ? `{ k = ${i.at} + ${cycles}; if (k <= limit) continue; r[15] = ${target}; return k; }`
  : `{ r[15] = ${target}; return ${i.at} + ${cycles}; }`);

function conditionalBranch(i) {
  const condition = i.op >> 8 & 15;
  if (condition >= 14) {
    return system(i, 1); // UDF and SVC
  }
  const target = i.pc + 4 + (i.op << 24 >> 23);
  return { code: `if (${CONDITIONS[condition]}) ${leaveTo(i, target, 2)}`, cycles: 1, exits: true };
}

function wide(i) {
  const { op, op2 } = i;
  if ((op2 & 0xd000) === 0xd000) {
    const sign = op >> 10 & 1, i1 = ~(op2 >> 13 ^ sign) & 1, i2 = ~(op2 >> 11 ^ sign) & 1;
    const offset = (sign ? 0xff000000 : 0) | i1 << 23 | i2 << 22 | (op & 0x3ff) << 12 | (op2 & 0x7ff) << 1;
    return { code: `r[14] = ${i.pc + 5}; r[15] = ${i.pc + 4 + offset | 0};`, cycles: 3, ends: true };
  }
  if (op === 0xf3ef && (op2 & 0xf0ff) === 0x8010) {
    return plain(`r[${op2 >> 8 & 15}] = primask();`, 3);
  }
  if (op >> 4 === 0xf38 && op2 === 0x8810) {
    return primask(i, `(r[${op & 15}] & 1) !== 0`, 3);
  }
  const barrier = op === 0xf3bf && (op2 & 0xff00) === 0x8f00;
  return barrier ? plain('', 3) : system(i, 3);
}

const immediate = (op) => [op >> 8 & 7, op & 255];

const byTopBits = [
  ...shiftImmediate.map((shift) => ({ op }) => shift(op & 7, op >> 3 & 7, op >> 6 & 31)),
  ({ op }) => {
    const d = op & 7, a = `r[${op >> 3 & 7}]`, b = op & 0x400 ? `${op >> 6 & 7}` : `r[${op >> 6 & 7}]`;
    return op & 0x200 ? subtract(d, a, b) : add(d, a, b);
  },
  ({ op }) => logical(...immediate(op)),
  ({ op }) => { const [n, value] = immediate(op); return subtract(-1, `r[${n}]`, `${value}`); },
  ({ op }) => { const [n, value] = immediate(op); return add(n, `r[${n}]`, `${value}`); },
  ({ op }) => { const [n, value] = immediate(op); return subtract(n, `r[${n}]`, `${value}`); },
  (i) => (i.op & 0x400 ? highRegister(i) : dataProcessing[i.op >> 6 & 15](i.op & 7, i.op >> 3 & 7)),
  loadLiteral,
  loadStoreRegister,
  loadStoreRegister,
  ...[32, 8, 16].flatMap((width) => [save, load].map((access) => (i) =>
    access(i, i.op & 7, `(r[${i.op >> 3 & 7}] + ${(i.op >> 6 & 31) * width / 8}) | 0`, width))),
  ...[save, load].map((access) => (i) => access(i, i.op >> 8 & 7, `(r[13] + ${4 * (i.op & 255)}) | 0`, 32)),
  (i) => plain(`r[${i.op >> 8 & 7}] = ${(i.pc + 4 & ~3) + 4 * (i.op & 255)};`),
  ({ op }) => plain(`r[${op >> 8 & 7}] = r[13] + ${4 * (op & 255)};`),
  miscellaneous,
  miscellaneous,
  (i) => {
    const n = i.op >> 8 & 7, list = i.op & 255;
    return saveMultiple(i, `r[${n}]`, list, n, `a + ${4 * bits(list).length}`);
  },
  (i) => {
    const n = i.op >> 8 & 7, list = i.op & 255;
    return loadMultiple(i, n, list, list >> n & 1 ? -1 : n, false);
  },
  conditionalBranch,
  conditionalBranch,
  (i) => ({ code: leaveTo(i, i.pc + 4 + (i.op << 21 >> 20), 2), cycles: 2, ends: true, closed: true }),
  (i) => system(i, 1),
  wide,
  wide,
];

/**
 * Translates `instruction`:
 *   pc op op2  its address and halfwords
 *   at         source of the cycle count before it
 *   start      first address of its block
 *   inline     whether memory accesses are written out
 *   shared     gives the source that calls a shared function with these parameters and this body
 *   constant   gives the value of a literal that cannot change, or undefined
 * Returns
 *   code       the source
 *   next       the address behind it
 *   cycles     what it takes when it neither branches nor leaves plain memory
 *   flags      sources of the flags that it sets, by name; uses: the flags that it reads, as bits
 *   exits      whether the function may be left in its middle
 *   ends       whether the block ends with it; closed: whether its source returns by itself
 */
export function translate(instruction) {
  const next = instruction.pc + (isWide(instruction.op) ? 4 : 2);
  const i = { ...instruction, next };
  return { uses: 0, exits: false, ends: false, closed: false, flags: {}, next, ...byTopBits[i.op >> 11](i) };
}

/** The flags, as bits, that a description's `flags` sets. */
export const flagBits = (flags) => Object.keys(flags).reduce((set, name) => set | FLAG_BITS[name], 0);

/** The source that stores those of `flags` that are in `live`. */
export const storeFlags = (flags, live) => Object.entries(flags)
  .filter(([name]) => live & FLAG_BITS[name])
  .map(([name, source]) => `f[${'nzcv'.indexOf(name)}] = ${source};`).join(' ');
