// Runs of instructions translated to JavaScript functions, kept by address until what they were read from changes.
//
// A block goes on past conditional branches that are not taken and ends where the next address is not known, or after
// MAX_INSTRUCTIONS. It is made twice: compact at first, and fast once it has run HOT times. Code in SRAM is watched in
// granules of 64 bytes; a granule that is written to again and again (data beside code) is no longer translated but run an
// instruction at a time.
import { FLASH_SIZE, FLASH_START, ROM_SIZE, SRAM_SIZE, SRAM_START } from './memory.mjs';
import { ALL_FLAGS, flagBits, isWide, storeFlags, translate } from './thumb.mjs';

const MAX_INSTRUCTIONS = 48;
const MAX_BYTES = 4 * MAX_INSTRUCTIONS;
const LITERAL_REACH = 1024;
const GRANULE = 64;
export const HOT = 200; // runs
const GIVE_UP_AFTER = 16; // rewrites of one granule

export function createBlocks(memory, environment) {
  const watched = new Uint8Array(SRAM_SIZE / GRANULE);
  const rewrites = new Uint16Array(SRAM_SIZE / GRANULE);
  const functions = []; // shared by blocks
  const scope = { ...environment, ...memory.views, P: watched, wrote, H: functions };
  // one scope that every block is made in: half the cost of a `new Function` each. Strict, or names would be looked up late
  const make = new Function('scope',
    `'use strict'; const { ${Object.keys(scope).join(', ')} } = scope; return (source) => eval(source);`)(scope);
  const [flash, rom, sram] = [FLASH_SIZE, ROM_SIZE, SRAM_SIZE].map((size) => new Array(size / 2).fill(null));
  const singles = new Map();
  const functionNames = new Map(); // their sources → how a block calls them

  const inSram = (address) => address - SRAM_START >>> 0 < SRAM_SIZE;
  const inFlash = (address) => address >>> 21 === FLASH_START >>> 21;

  /** Literals of code in flash and ROM cannot change while the block lives. */
  const constant = (address) => (inSram(address) ? undefined : memory.word(address));

  /** How a block calls the function with these parameters and this body, which is made once. */
  function shared(parameters, body) {
    const source = `(function (${parameters}) { 'use strict'; let a = 0, s = 0, t = 0, x = 0; ${body} return 0; })`;
    if (!functionNames.has(source)) {
      functionNames.set(source, `H[${functions.length}]`);
      functions.push(make(source));
    }
    return functionNames.get(source);
  }

  /** A block of at most `limit` instructions from `start`, with memory accesses written out if `inline`. */
  function compile(start, limit, inline) {
    const parts = [];
    let pc = start, cycles = 0, ends = false;
    while (!ends && parts.length < limit) {
      const op = memory.halfword(pc), op2 = isWide(op) ? memory.halfword(pc + 2) : 0;
      const part = translate({ pc, op, op2, at: `k + ${cycles}`, start, inline, shared, constant });
      parts.push(part);
      pc = part.next;
      cycles += part.cycles;
      ends = part.ends || !memory.isCode(pc);
    }
    const last = parts.at(-1);
    const tail = last.closed ? '' : `${last.ends ? '' : `r[15] = ${pc};`} return k + ${cycles};`;
    const source = `(function (limit) { 'use strict'; let a = 0, b = 0, s = 0, t = 0, x = 0, k = 0; for (;;) {
${body(parts)}
${tail} } })`;
    return {
      run: make(source), longest: cycles + 8, runs: inline ? -Infinity : 0,
      end: pc, first: memory.halfword(start), second: memory.halfword(start + 2),
    };
  }

  /** The parts' code, with only those flags stored that something may read before they are set again. */
  function body(parts) {
    let live = ALL_FLAGS;
    const lines = [];
    for (const part of [...parts].reverse()) {
      lines.push(`${part.code} ${storeFlags(part.flags, live)}`);
      live = part.exits ? ALL_FLAGS : live & ~flagBits(part.flags) | part.uses;
    }
    return lines.reverse().join('\n');
  }

  /** The block that starts at `pc`, or null where code is run an instruction at a time. */
  function block(pc) {
    if (inFlash(pc)) {
      const index = (pc & 0x1fffff) >> 1;
      return flash[index] ?? (flash[index] = compile(pc, MAX_INSTRUCTIONS, false));
    }
    if (inSram(pc)) {
      const index = pc - SRAM_START >> 1;
      const changing = rewrites[index >> 5] > GIVE_UP_AFTER;
      return sram[index] ?? (changing ? null : watch(index, compile(pc, MAX_INSTRUCTIONS, false)));
    }
    if (pc >>> 0 < ROM_SIZE) {
      return rom[pc >> 1] ?? (rom[pc >> 1] = compile(pc, MAX_INSTRUCTIONS, false));
    }
    return null;
  }

  function watch(index, made) {
    for (let granule = index >> 5; granule <= made.end - SRAM_START - 1 >> 6; granule++) {
      watched[granule] = 1;
    }
    return (sram[index] = made);
  }

  /** A block ran so often that more work on it pays. */
  function heat(pc, block) {
    const hot = compile(pc, MAX_INSTRUCTIONS, true);
    Object.assign(block, { run: hot.run, longest: hot.longest, runs: hot.runs });
  }

  /** The instruction at `pc` by itself; checked against memory, so nothing has to forget it. */
  function single(pc) {
    const made = singles.get(pc);
    if (made !== undefined && made.first === memory.halfword(pc) && made.second === memory.halfword(pc + 2)) {
      return made;
    }
    const fresh = compile(pc, 1, false);
    singles.set(pc, fresh);
    return fresh;
  }

  /** Called by translated code that stored into a watched granule, `offset` in SRAM. */
  function wrote(offset) {
    const granule = offset >> 6;
    if (watched[granule] === 0) {
      return;
    }
    watched[granule] = 0;
    rewrites[granule]++;
    const first = Math.max(0, granule * GRANULE - MAX_BYTES) >> 1, end = (granule + 1) * GRANULE >> 1;
    for (let index = first; index < end; index++) {
      sram[index] = null;
    }
  }

  /** Called when flash from `offset` on, `length` bytes, got other contents. */
  function flashChanged(offset, length) {
    const end = offset + length >> 1;
    for (let index = Math.max(0, offset - MAX_BYTES - LITERAL_REACH) >> 1; index < end; index++) {
      flash[index] = null;
    }
    singles.clear();
  }

  return { block, single, heat, flashChanged };
}
