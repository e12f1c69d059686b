// A Raspberry Pi Pico: the chip with our boot ROM, its flash, and a USB cable. A reset makes a new chip, so that every
// register is what it is at power-up; what survives one (flash, RAM, watchdog scratch, cycle count) is carried over.
import { correct } from './corrections.mjs';
import { installCycleCounter } from './cycle-counter.mjs';
import { createExecutor } from './executor.mjs';
import { RP2040 } from './rp2040js.mjs';
import { UsbHost } from './usb-host.mjs';

const TRAP_BOOTSEL = 0xe0, TRAP_ERASE = 0xe1, TRAP_PROGRAM = 0xe2; // breakpoints in bootrom/rom.S
const WATCHDOG = 0x40058;

export class Board {
  hardFaults = 0;

  /** `user` is what UsbHost wants of one, and is told `onEvent(event)`. */
  constructor(rom, flash, user, profiler = { on: false }) {
    this.rom = rom;
    this.flash = flash;
    this.user = user;
    this.profiler = profiler;
    this.attached = true;
    this.#boot(0);
  }

  /** The RUN pin: a reset that the watchdog's registers do not survive. */
  reset() {
    this.#boot(this.mcu.core.cycles);
    this.user.onEvent({ event: 'reset', cause: 'run' });
  }

  unplug() {
    this.attached = false;
    this.usb.unplug();
  }

  plug() {
    this.attached = true;
    this.usb.plug();
  }

  get waiting() {
    return this.mcu.core.waiting;
  }

  /** Runs for about `cycles` cycles, or until the processor sleeps or the board enters BOOTSEL. */
  run(cycles) {
    this.executor.run(cycles, () => this.stopped);
    if (this.watchdogFired) {
      this.#resetByWatchdog();
    }
  }

  /** Lets the sleeping board's time go on by `nanos`, but not beyond the next thing that is due. */
  sleep(nanos) {
    const { clkSys } = this.mcu;
    this.executor.advance(Math.min(Math.ceil(nanos * clkSys / 1e9), this.executor.cyclesToAlarm()));
    if (this.watchdogFired) {
      this.#resetByWatchdog();
    }
  }

  /** Nanoseconds until something is due by itself; Infinity when nothing is. */
  get nanosToAlarm() {
    return this.executor.cyclesToAlarm() * 1e9 / this.mcu.clkSys;
  }

  get nanos() {
    return this.past + this.mcu.clock.nanos;
  }

  get stopped() {
    return this.watchdogFired || this.inBootsel;
  }

  registers() {
    const { core } = this.mcu;
    const hex = (value) => `0x${(value >>> 0).toString(16).padStart(8, '0')}`;
    const names = [...Array(13).keys()].map((n) => `r${n}`).concat('sp', 'lr', 'pc');
    return { ...Object.fromEntries(names.map((name, n) => [name, hex(core.registers[n])])), xpsr: hex(core.xPSR) };
  }

  #boot(cycles) {
    this.past = this.mcu ? this.nanos : 0;
    this.watchdogFired = this.inBootsel = false;
    const sram = this.mcu?.sram ?? [];
    this.mcu = new RP2040();
    const { mcu } = this;
    mcu.sram.set(sram);
    const unsupported = (_component, message) => this.user.onEvent({ event: 'unsupported', message });
    mcu.logger = { debug() {}, info() {}, warn() {}, error: unsupported };
    mcu.bootrom.set(this.rom);
    mcu.flash.set(this.flash.bytes);
    const watchdog = mcu.peripherals[WATCHDOG];
    watchdog.onWatchdogTrigger = () => {
      this.watchdogFired = true;
      watchdog.alarm.enable = false; // or rp2040js would fire it again in the same instant
    };
    correct(mcu);
    installCycleCounter(mcu, this.profiler);
    this.executor = createExecutor(mcu, {
      onRomTrap: (code) => this.romTrap(code),
      onHardFault: () => { this.hardFaults++; },
      profiler: this.profiler,
    });
    this.usb = new UsbHost(mcu, this.user);
    this.usb.attached = this.attached;
    mcu.core.reset();
    mcu.core.cycles = cycles;
  }

  #resetByWatchdog() {
    const { scratchData, reason } = this.mcu.peripherals[WATCHDOG];
    this.#boot(this.mcu.core.cycles);
    Object.assign(this.mcu.peripherals[WATCHDOG], { scratchData, reason });
    this.user.onEvent({ event: 'reset', cause: 'watchdog' });
  }

  romTrap(code) {
    const [offset, source, count] = this.mcu.core.registers;
    switch (code) {
      case TRAP_BOOTSEL:
        this.inBootsel = true;
        break;
      case TRAP_ERASE:
        this.#changeFlash(offset, source, () => this.flash.erase(offset, source));
        break;
      case TRAP_PROGRAM: {
        const data = Uint8Array.from({ length: count }, (_, n) => this.mcu.core.readUint8(source + n));
        this.#changeFlash(offset, count, () => this.flash.program(offset, data));
        break;
      }
      default:
        throw new Error(`boot ROM entry without an implementation, called from ${this.registers().lr}`);
    }
  }

  #changeFlash(offset, length, change) {
    change();
    this.mcu.flash.set(this.flash.bytes.subarray(offset, offset + length), offset);
    this.executor.flashChanged(offset, length);
  }
}
