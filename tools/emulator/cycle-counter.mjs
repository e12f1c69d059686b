// A 64-bit count of processor cycles since power-up that firmware can read where the chip has nothing: the low word at
// mem32[0x400fc000], which latches the high word at +4. It does not stand still while the processor sleeps. Writing 1 to +8
// starts the profiler, writing 0 ends it.
import { BasePeripheral } from './rp2040js.mjs';

const PAGE = 0x400fc;
const PROFILE = 8;

class CycleCounter extends BasePeripheral {
  high = 0;

  constructor(mcu, profiler) {
    super(mcu, 'CYCLES');
    this.profiler = profiler;
  }

  readUint32(offset) {
    if (offset !== 0) {
      return offset === 4 ? this.high : 0;
    }
    const { cycles } = this.rp2040.core;
    this.high = Math.floor(cycles / 2 ** 32);
    return cycles >>> 0;
  }

  writeUint32(offset, value) {
    const { cycles } = this.rp2040.core;
    if (offset === PROFILE && value & 1) {
      this.profiler.start(cycles);
    } else if (offset === PROFILE) {
      this.profiler.stop(cycles);
    }
  }
}

export function installCycleCounter(mcu, profiler) {
  mcu.peripherals[PAGE] = new CycleCounter(mcu, profiler);
}
