// Runs one emulated Pico until its standard input ends:  node main.mjs ROM FLASH [--turbo]
//
// ROM is the boot ROM's image, FLASH a file of 2 MB; FLASH.profile.json is what profiler.mjs counts. Standard input and output carry frames (channel.mjs).
// Commands: {command: 'line', baud, dtr} {'unplug'} {'plug'} {'reset'} {'cut', operation, outcome, seed} {'query', id}
// {'jump', seed, nanos, least, most}: the clock jumps ahead by `nanos` (0: no more) after every `least` to `most` cycles, until a reset.
// Events: 'connected' {vid, pid, serial}, 'reset' {cause}, 'bootsel', 'power_cut', 'lockup' {message, registers},
// 'unsupported' {message}, 'reply' {id, cycles, nanos, flash_operations, hard_faults, jumps}.
// After bootsel, power_cut and lockup the process ends: the processor has nothing more to do.
import fs from 'node:fs';
import v8 from 'node:v8';
import { Board } from './board.mjs';
import { Channel } from './channel.mjs';
import { Lockup } from './executor.mjs';
import { Flash, PowerCut } from './flash.mjs';
import { Profiler } from './profiler.mjs';

// Firmware runs much code a few hundred times: compile early rather than well.
v8.setFlagsFromString('--always-sparkplug');
v8.setFlagsFromString('--interrupt-budget=20000');

const BATCH_CYCLES = 125_000; // of one call
const BATCH_MS = 3; // between two looks at standard input
const SHORTEST_SLEEP_MS = 2; // shorter waits are not worth giving the host's processor away

const [romPath, flashPath, ...options] = process.argv.slice(2);
const turbo = options.includes('--turbo');

const rom = new Uint32Array(4096);
new Uint8Array(rom.buffer).set(fs.readFileSync(romPath));
const flash = new Flash(flashPath);

const channel = new Channel({
  onData: (bytes) => { board.usb.send(Uint8Array.from(bytes)); wake(); },
  onCommand: (command) => { commands[command.command](command); wake(); },
  onRoom: () => { board.usb.resume(); wake(); },
  onEnd: () => process.exit(0),
});

const board = new Board(rom, flash, {
  onConnected: (device) => channel.event({ event: 'connected', ...device }),
  onData: (bytes) => channel.data(bytes),
  onTaken: (count) => channel.taken(count),
  hasRoom: () => channel.hasRoom(),
  onEvent: (event) => channel.event(event),
}, new Profiler(`${flashPath}.profile.json`));

const commands = {
  line: ({ baud, dtr }) => board.usb.setLine(baud, dtr),
  unplug: () => board.unplug(),
  plug: () => board.plug(),
  reset: () => board.reset(),
  jump: (how) => board.executor.jumpClock(how),
  cut: ({ operation, outcome, seed }) => flash.cutAt(operation, outcome, seed),
  query: ({ id }) => channel.event({
    event: 'reply', id, cycles: board.mcu.core.cycles, nanos: board.nanos,
    flash_operations: flash.operations, hard_faults: board.hardFaults, jumps: board.executor.jumps,
  }),
};

// ---- the board's time against the wall's ----

let origin = performance.now(); // wall time, in ms, of the board's time 0
let sleeping = null; // the timer that ends the present sleep

/** How far the board's time is behind the wall's, in ms. */
const lag = () => performance.now() - origin - board.nanos / 1e6;

function wake() {
  if (sleeping !== null) {
    clearTimeout(sleeping);
    sleeping = null;
    followWall();
    loop();
  }
}

/** The time that was slept passes on the board as well. */
function followWall() {
  const behind = lag();
  if (behind > 0) {
    board.sleep(behind * 1e6);
  }
}

/**
 * The processor sleeps. Goes on to what is due next, if that is near or overdue or nobody wants to wait for it;
 * else returns how long to wait for it, in ms.
 */
function idle() {
  const wait = board.nanosToAlarm / 1e6 - lag();
  if (wait === Infinity || (!turbo && wait >= SHORTEST_SLEEP_MS)) {
    return wait;
  }
  board.sleep(Infinity);
  return 0;
}

function loop() {
  const end = performance.now() + BATCH_MS;
  let wait = 0;
  do {
    runBatch();
    wait = board.waiting ? idle() : 0;
  } while (!wait && performance.now() < end);
  channel.flush();
  if (wait) {
    sleeping = setTimeout(wake, Math.min(wait, 60_000));
  } else {
    setImmediate(loop);
  }
}

/** However long busy code takes on this machine, a sleep afterwards takes as long as it says. */
function runBatch() {
  const ahead = Math.min(lag(), 0);
  try {
    board.run(BATCH_CYCLES);
    origin += lag() - ahead;
  } catch (error) {
    if (error instanceof PowerCut) {
      end({ event: 'power_cut', message: error.message });
    } else if (error instanceof Lockup) {
      end({ event: 'lockup', message: error.message, registers: board.registers() });
    }
    throw error;
  }
  if (board.inBootsel) {
    end({ event: 'bootsel' });
  }
}

function end(event) {
  channel.event(event);
  process.exit(0);
}

loop();
