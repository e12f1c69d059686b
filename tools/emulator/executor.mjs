// The processor: rp2040js's Cortex-M0+ model keeps the registers, exceptions and interrupts; instructions are executed by
// translated blocks (blocks.mjs) instead of rp2040js's interpreter, many times faster and with its arithmetic mistakes
// (carry of shifts by 0 and beyond 32, overflow of ADC and SBC, STM with its base in the list) right.
import { HOT, createBlocks } from './blocks.mjs';
import { HardFault } from './hardfault.mjs';
import { createMemory } from './memory.mjs';

const EXCEPTION_NMI = 2, EXCEPTION_HARDFAULT = 3;
const ENTRY_CYCLES = 15, RETURN_CYCLES = 12; // beside the branch that returns; Cortex-M0+ with zero-wait memory
const SIO_START = 0xd0000000, SIO_END = 0xe0000000, SIO_DIVIDER = 0x60, SIO_LAST = 0x180;
const APB_START = 0x40000000, APB_END = 0x50000000;
const ROM_TRAPS_END = 0x4000;

/** The fault could not be taken: the real processor would stop until it is reset. */
export class Lockup extends Error {}

export function createExecutor(mcu, { onRomTrap, onHardFault, profiler }) {
  const { core, clock } = mcu;
  const memory = createMemory(mcu);
  const { read8, read16, read32, write8, write16, write32 } = memory;
  const r = new Int32Array(core.registers.buffer);
  const f = new Int32Array(4);
  let elapsed = 0; // cycles since the clock was last brought up to date
  let owed = 0; // cycles of exception entries, which the clock has not seen yet
  let attention = false; // something happened that the block loop must look at before it goes on
  let jumps = null; // of the clock: see jumpClock

  // rp2040js's exception entry and return see the flags and the memory through the core
  Object.defineProperties(core, {
    N: { get: () => f[0] < 0, set: (on) => { f[0] = on ? -1 : 0; } },
    Z: { get: () => f[1] === 0, set: (on) => { f[1] = on ? 0 : 1; } },
    C: { get: () => f[2] !== 0, set: (on) => { f[2] = on ? 1 : 0; } },
    V: { get: () => f[3] < 0, set: (on) => { f[3] = on ? -1 : 0; } },
  });
  Object.assign(core, {
    readUint8: read8, readUint16: read16, readUint32: read32, writeUint8: write8, writeUint16: write16, writeUint32: write32,
  });
  const blocks = createBlocks(memory, {
    r, f, read8, read16, read32, write8, write16, write32, sync, accessCycles, jump, system, isQuick, quickRead, quickWrite,
    primask, setPrimask,
  });

  function advance(cycles) {
    const all = cycles + owed;
    owed = 0;
    core.cycles += all;
    clock.tick(all * 1e9 / mcu.clkSys);
  }

  /** Brings clock and cycle counter to the instruction `cycles` into the running block, before it has an effect. */
  function sync(cycles) {
    advance(elapsed + cycles);
    elapsed = -cycles;
    attention = true;
  }

  /** Cycles of a single load or store: the SIO answers in one, memory in two, the peripheral bus later. */
  function accessCycles(address, write) {
    address >>>= 0;
    if (address >= SIO_START && address < SIO_END) {
      return 1;
    }
    return address >= APB_START && address < APB_END ? (write ? 5 : 4) : 2;
  }

  /** The SIO's CPUID, divider, interpolators and spinlocks; not its pins and mailboxes. Time does not matter to them. */
  function isQuick(address) {
    const offset = address - SIO_START >>> 0;
    return (offset === 0 || (offset >= SIO_DIVIDER && offset < SIO_LAST)) && !(offset & 3);
  }

  function quickRead(address) {
    return mcu.sio.readUint32(address & 0xfff);
  }

  function quickWrite(address, value) {
    mcu.sio.writeUint32(address & 0xfff, value);
  }

  function primask() {
    return core.PM ? 1 : 0;
  }

  /** Returns whether an interrupt may be waiting for just this. */
  function setPrimask(masked) {
    core.PM = masked;
    const pending = !masked && (core.pendingInterrupts & core.enabledInterrupts || core.pendingSystick
      || core.pendingPendSV || core.pendingSVCall);
    core.interruptsUpdated ||= Boolean(pending);
    return pending;
  }

  /** BX, BLX and POP {pc}: a branch or an exception return. Returns the extra cycles of the latter. */
  function jump(address, cycles) {
    if (address >>> 28 === 15 && core.IPSR !== 0) {
      sync(cycles);
      core.exceptionReturn(address & 0x0fffffff);
      return RETURN_CYCLES;
    }
    r[15] = address & ~1;
    if (!(address & 1)) {
      sync(cycles);
      throw new HardFault('branch to an address without the Thumb bit');
    }
    return 0;
  }

  function system(op, op2, pc) {
    r[15] = pc + (op >>> 11 >= 0b11101 ? 4 : 2);
    if (op === 0xf3ef && op2 >>> 12 === 8) {
      r[op2 >> 8 & 15] = core.readSpecialRegister(op2 & 255);
    } else if (op >>> 4 === 0xf38 && op2 >>> 8 === 0x88) {
      core.writeSpecialRegister(op2 & 255, r[op & 15] >>> 0);
    } else if (op === 0xbf40) {
      core.eventRegistered = true;
    } else if (op === 0xbf30) {
      core.waiting = true;
    } else if (op === 0xbf20) {
      core.waiting = !core.eventRegistered;
      core.eventRegistered = false;
    } else if (op >>> 8 === 0xdf) {
      core.pendingSVCall = true;
      core.interruptsUpdated = true;
    } else if (op >>> 8 === 0xbe && pc < ROM_TRAPS_END) {
      onRomTrap(op & 255);
    } else if ((op & 0xff0f) !== 0xbf00) { // other hints do nothing
      r[15] = pc;
      throw new HardFault(op >>> 8 === 0xbe ? 'breakpoint without a debugger' : 'undefined instruction');
    }
  }

  function takeHardFault(fault) {
    onHardFault(fault);
    if (core.IPSR === EXCEPTION_HARDFAULT || core.IPSR === EXCEPTION_NMI) {
      throw new Lockup(`${fault.message}, inside the fault handler`);
    }
    try {
      core.exceptionEntry(EXCEPTION_HARDFAULT);
    } catch (error) {
      throw error instanceof HardFault ? new Lockup(`${fault.message}; no stack to take the fault: ${error.message}`) : error;
    }
  }

  const entry = core.exceptionEntry.bind(core);
  core.exceptionEntry = (number) => {
    owed += ENTRY_CYCLES;
    if (profiler.on) {
      profiler.interrupt(r[15] & ~1);
    }
    entry(number);
  };

  function takeInterrupts() {
    try {
      if (core.checkForInterrupts()) {
        core.waiting = false;
      }
    } catch (error) {
      if (!(error instanceof HardFault)) {
        throw error;
      }
      takeHardFault(error);
    }
    advance(0);
  }

  function cyclesToAlarm() {
    return clock.nextAlarm ? Math.max(1, Math.ceil((clock.nextAlarm.nanos - clock.nanos) * mcu.clkSys / 1e9)) : Infinity;
  }

  /** Runs blocks for at most `horizon` cycles, in which no alarm is due; stops earlier when something needs attention. */
  function runBlocks(horizon) {
    elapsed = 0;
    attention = false;
    try {
      do {
        const pc = r[15] & ~1;
        const left = horizon - elapsed;
        let next = blocks.block(pc);
        if (next === null || next.longest > left) {
          if (!memory.isCode(pc)) {
            sync(0);
            throw new HardFault('instruction fetch where there is no memory');
          }
          next = blocks.single(pc);
        } else if (++next.runs === HOT) {
          blocks.heat(pc, next);
        }
        if (profiler.on) {
          profiler.enter(pc, r[14], next.end);
        }
        const cycles = next.run(left - next.longest);
        elapsed += cycles;
        if (profiler.on) {
          profiler.leave(cycles);
        }
      } while (elapsed < horizon && !attention);
    } catch (error) {
      if (!(error instanceof HardFault)) {
        throw error;
      }
      elapsed = 1;
      takeHardFault(error);
    }
    advance(elapsed);
  }

  /** From now on, the clock jumps by `nanos` after every `least` to `most` cycles: in between any two instructions. */
  function jumpClock({ seed, nanos, least, most }) {
    jumps = { state: seed, nanos, least, span: most - least + 1, next: 0, count: jumps?.count ?? 0 };
    planJump();
  }

  function planJump() {
    jumps.state ^= jumps.state << 13;
    jumps.state ^= jumps.state >>> 17;
    jumps.state ^= jumps.state << 5;
    jumps.next = core.cycles + jumps.least + (jumps.state >>> 0) % jumps.span;
  }

  /** Jumps if it is time; returns how many cycles it is to the next jump. */
  function cyclesToJump() {
    if (jumps === null || jumps.nanos === 0) {
      return Infinity;
    }
    if (core.cycles >= jumps.next) {
      jumps.count++;
      clock.tick(jumps.nanos);
      planJump();
    }
    return jumps.next - core.cycles;
  }

  /** Runs for about `cycles` cycles. Returns early when the processor waits for an event, or when `stop` says so. */
  function run(cycles, stop) {
    const end = core.cycles + cycles;
    while (core.cycles < end && !stop()) {
      const toJump = cyclesToJump();
      if (core.interruptsUpdated) {
        takeInterrupts();
      }
      if (core.waiting) {
        return;
      }
      runBlocks(Math.min(cyclesToAlarm(), end - core.cycles, toJump));
    }
  }

  return {
    run, advance, cyclesToAlarm, jumpClock, flashChanged: blocks.flashChanged,
    get jumps() { return jumps?.count ?? 0; },
  };
}
