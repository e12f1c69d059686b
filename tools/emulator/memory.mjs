// The RP2040's address map as a program sees it, with the faults of ARMv6-M: rp2040js itself lets unaligned accesses and
// addresses with nothing behind them pass. It also lets stores change ROM and flash, which on the chip do nothing at all
// (XIP_CTRL's ERR_BADWRITE is 0); TinyUSB counts on that.
import { HardFault } from './hardfault.mjs';

export const ROM_SIZE = 0x4000;
export const FLASH_START = 0x10000000;
export const FLASH_SIZE = 2 * 1024 * 1024;
export const SRAM_START = 0x20000000;
export const SRAM_SIZE = 0x42000;
const FLASH_END = 0x14000000; // four windows of 16 MB on the same chip, whose 2 MB repeat in each
const DPRAM_START = 0x50100000;
const DPRAM_SIZE = 0x1000;
const DPRAM_BUFFERS = 0x100; // before it: the USB controller's control words, which have effects
const SIO_START = 0xd0000000;
const PPB_PAGE = 0xe000e;

const hex = (address) => `0x${(address >>> 0).toString(16).padStart(8, '0')}`;

export function createMemory(mcu) {
  const { sram, flash, usbDPRAM } = mcu;
  const rom = new Uint8Array(mcu.bootrom.buffer);
  const [romView, flashView, sramView, dpramView] = [rom, flash, sram, usbDPRAM].map((bytes) => new DataView(bytes.buffer));

  function check(address, mask, what) {
    if (address & mask) {
      throw new HardFault(`unaligned ${what} at ${hex(address)}`);
    }
  }

  /** The plain memory behind an address, as [view, offset], or null. */
  function plain(address) {
    if (address < ROM_SIZE) {
      return [romView, address];
    }
    if (address >= FLASH_START && address < FLASH_END) {
      return [flashView, address & FLASH_SIZE - 1];
    }
    if (address >= SRAM_START && address < SRAM_START + SRAM_SIZE) {
      return [sramView, address - SRAM_START];
    }
    if (address >= DPRAM_START && address < DPRAM_START + DPRAM_SIZE) {
      return [dpramView, address - DPRAM_START];
    }
    return null;
  }

  function peek(address, size, get) {
    const found = plain(address >>> 0);
    return found && found[1] + size <= found[0].byteLength ? get(...found) : undefined;
  }

  function requireDevice(address, what) {
    const device = (address >= SIO_START && address < SIO_START + 0x1000) || address >>> 12 === PPB_PAGE
      || (address >= DPRAM_START && address < DPRAM_START + DPRAM_SIZE) || mcu.findPeripheral(address) !== undefined;
    if (!device) {
      throw new HardFault(`${what} ${hex(address)}, where there is nothing`);
    }
  }

  const reader = (mask, fromView, fromDevice) => (address) => {
    address >>>= 0;
    check(address, mask, 'read');
    const found = plain(address);
    if (found) {
      return fromView(...found);
    }
    requireDevice(address, 'read from');
    return fromDevice(address);
  };

  const writer = (mask, toView, toDevice) => (address, value) => {
    address >>>= 0;
    check(address, mask, 'write');
    if (address >= SRAM_START && address < SRAM_START + SRAM_SIZE) {
      toView(sramView, address - SRAM_START, value);
    } else if (address >= DPRAM_START + DPRAM_BUFFERS && address < DPRAM_START + DPRAM_SIZE) {
      toView(dpramView, address - DPRAM_START, value);
    } else if (address >= ROM_SIZE && (address < FLASH_START || address >= FLASH_END)) { // ROM and flash ignore writes
      requireDevice(address, 'write to');
      toDevice(address, value);
    }
  };

  return {
    read8: reader(0, (v, o) => v.getUint8(o), (a) => mcu.readUint8(a)),
    read16: reader(1, (v, o) => v.getUint16(o, true), (a) => mcu.readUint16(a)),
    read32: reader(3, (v, o) => v.getUint32(o, true), (a) => mcu.readUint32(a)),
    write8: writer(0, (v, o, x) => v.setUint8(o, x), (a, x) => mcu.writeUint8(a, x)),
    write16: writer(1, (v, o, x) => v.setUint16(o, x, true), (a, x) => mcu.writeUint16(a, x)),
    write32: writer(3, (v, o, x) => v.setUint32(o, x, true), (a, x) => mcu.writeUint32(a, x)),

    /** Whether instructions can be fetched from `address`. */
    isCode: (address) => (address >>> 0 < ROM_SIZE) || (address >= FLASH_START && address < FLASH_END)
      || (address >= SRAM_START && address < SRAM_START + SRAM_SIZE),
    /** Halfword and word of an address where `isCode` holds; 0 and undefined elsewhere. */
    halfword: (address) => peek(address, 2, (view, offset) => view.getUint16(offset, true)) ?? 0,
    word: (address) => peek(address, 4, (view, offset) => view.getInt32(offset, true)),

    /** Typed views for translated code, by the names that thumb.mjs uses. */
    views: {
      S8: sram, S16: new Uint16Array(sram.buffer), S32: new Int32Array(sram.buffer),
      F8: flash, F16: mcu.flash16, F32: new Int32Array(flash.buffer),
    },
  };
}
