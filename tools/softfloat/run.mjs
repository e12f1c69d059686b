// Calls functions of a program on the emulated Pico's processor:  node run.mjs PROGRAM LOOP STACK
//
// PROGRAM is an image for the start of RAM, LOOP the address of its loop `timed` (harness.S), STACK its stack's end, where operands
// begin. Standard input: for each job a function's address and a count (u32), then as many first and second operands. Standard
// output: for each job the results, then the cycles.
import fs from 'node:fs';
import { Board } from '../emulator/board.mjs';
import { FLASH_SIZE, SRAM_START } from '../emulator/memory.mjs';

const CYCLE_COUNTER = 0x400fc000; // cycle-counter.mjs
const [imagePath, loop, stack] = process.argv.slice(2);
const board = new Board(new Uint32Array(4096), { bytes: new Uint8Array(FLASH_SIZE) }, {
  onEvent(event) { throw new Error(JSON.stringify(event)); },
});
const { core, sram } = board.mcu;
sram.set(fs.readFileSync(imagePath));

function job(address, count, operands) {
  const arrays = [0, 1, 2, 3].map((n) => Number(stack) + 4 * count * n); // first, second, results, cycles
  sram.set(operands, arrays[0] - SRAM_START);
  const { registers } = core;
  registers[4] = address | 1;
  [registers[5], registers[6], registers[7], registers[10]] = arrays;
  registers[8] = count;
  registers[9] = CYCLE_COUNTER;
  registers[13] = Number(stack);
  registers[15] = Number(loop);
  core.waiting = false;
  while (!core.waiting) {
    board.run(1e6);
  }
  if (registers[7] !== arrays[3] || registers[13] !== Number(stack)) {
    throw new Error('a register was changed that has to be kept');
  }
  fs.writeSync(1, sram.slice(arrays[2] - SRAM_START, arrays[2] - SRAM_START + 8 * count));
}

const input = fs.readFileSync(0);
for (let at = 0; at < input.length;) {
  const address = input.readUInt32LE(at), count = input.readUInt32LE(at + 4);
  job(address, count, input.subarray(at + 8, at + 8 + 8 * count));
  at += 8 + 8 * count;
}
