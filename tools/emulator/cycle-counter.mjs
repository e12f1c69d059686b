// A 64-bit count of processor cycles since power-up that firmware can read where the chip has nothing: the low word at
// mem32[0x400fc000], which latches the high word at +4. It does not stand still while the processor sleeps.
import { BasePeripheral } from './rp2040js.mjs';

const PAGE = 0x400fc;

class CycleCounter extends BasePeripheral {
  high = 0;

  readUint32(offset) {
    if (offset !== 0) {
      return offset === 4 ? this.high : 0;
    }
    const { cycles } = this.rp2040.core;
    this.high = Math.floor(cycles / 2 ** 32);
    return cycles >>> 0;
  }

  writeUint32() {} // read only
}

export function installCycleCounter(mcu) {
  mcu.peripherals[PAGE] = new CycleCounter(mcu, 'CYCLES');
}
