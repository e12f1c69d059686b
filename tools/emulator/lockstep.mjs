// Proves the translator against rp2040js's own interpreter:  node lockstep.mjs ROM FLASH_A FLASH_B CODE
//
// Two boards boot from equal flash images and get CODE typed at their REPL at the same cycle. One executes translated blocks; the
// other is stepped through rp2040js's executeInstruction, with the cycles that rp2040js leaves out added. Registers, flags
// and cycle counts are compared wherever a block ends. Prints {instructions, cycles, output, difference}.
import fs from 'node:fs';
import { Board } from './board.mjs';
import { Flash } from './flash.mjs';

const [romPath, flashA, flashB, code] = process.argv.slice(2);
const LONGEST_RUN = 400; // cycles between two comparisons
const RETURN_CYCLES = 12; // as in executor.mjs
const rom = new Uint32Array(4096);
new Uint8Array(rom.buffer).set(fs.readFileSync(romPath));

function makeBoard(flash) {
  const made = { output: '', connected: false };
  made.board = new Board(rom, new Flash(flash), {
    onConnected: () => { made.connected = true; },
    onData: (bytes) => { made.output += Buffer.from(bytes).toString('latin1'); },
    onTaken() {}, hasRoom: () => true, onEvent() {},
  });
  return made;
}

const a = makeBoard(flashA), b = makeBoard(flashB);
const translated = a.board, stepped = b.board;
const core = stepped.mcu.core;
let instructions = 0, returnCycles = 0;
const exceptionReturn = core.exceptionReturn.bind(core);
core.exceptionReturn = (value) => { returnCycles = RETURN_CYCLES; exceptionReturn(value); };
stepped.mcu.onBreak = (trap) => stepped.romTrap(trap);
stepped.mcu.logger.info = (_component, message) => { core.eventRegistered ||= message === 'SEV'; };

/** One instruction as rp2040js executes it. It does not count LR and PC among the registers of PUSH and POP. */
function step() {
  if (core.interruptsUpdated && core.checkForInterrupts()) {
    core.waiting = false;
    stepped.executor.advance(0);
  }
  if (core.waiting) {
    return;
  }
  const op = core.readUint16(core.PC & ~1), before = core.cycles;
  const listed = (op & 0xff00) === 0xb500 || (op & 0xff00) === 0xbd00 ? 1 : 0;
  returnCycles = 0;
  const cycles = core.executeInstruction();
  core.cycles = before;
  stepped.executor.advance(cycles + listed + returnCycles);
  instructions++;
}

function state(board) {
  const { core: c } = board.mcu;
  return [...c.registers.slice(0, 15), c.PC & ~1, c.xPSR, c.PM, c.waiting, c.cycles].map(String).join(' ');
}

/** Runs both until the processor sleeps with nothing due; returns a description of the first difference, if any. */
function runBoth() {
  for (;;) {
    translated.run(LONGEST_RUN);
    while (core.cycles < translated.mcu.core.cycles && (!core.waiting || core.interruptsUpdated)) {
      step();
    }
    if (state(translated) !== state(stepped)) {
      return `translated ${state(translated)}, stepped ${state(stepped)}`;
    }
    if (translated.waiting) {
      if (translated.nanosToAlarm === Infinity) {
        return null;
      }
      translated.sleep(Infinity);
      stepped.sleep(Infinity);
    }
  }
}

function type(text) {
  translated.usb.send(Buffer.from(text));
  stepped.usb.send(Buffer.from(text));
  return runBoth();
}

let difference = runBoth();
translated.usb.setLine(115200, true);
stepped.usb.setLine(115200, true);
difference ??= runBoth() ?? type('\x01') ?? type(`${code}\x04`);
console.log(JSON.stringify({ instructions, cycles: core.cycles, output: a.output, difference }));
