// Where rp2040js 1.4.1 differs from the chip in ways that firmware can see, beside what executor.mjs and memory.mjs
// replace (instructions, exception costs, access faults) and usb-device.mjs (the USB controller). One function each.
import { installSysTick } from './systick.mjs';

export function correct(mcu) {
  sleepWithInterruptsMasked(mcu.core);
  interruptsOnlyBetweenInstructions(mcu.core);
  divider(mcu.sio);
  timerAlarms(mcu.peripherals[0x40054], mcu.clock);
  absentCore1(mcu);
  installSysTick(mcu);
}

/** WFI and WFE with PRIMASK set wake for a pending interrupt without taking it; rp2040js takes it. */
function sleepWithInterruptsMasked(core) {
  const check = core.checkForInterrupts.bind(core);
  core.checkForInterrupts = () => {
    if (!core.waiting || !core.PM) {
      return check();
    }
    if ((core.pendingInterrupts & core.enabledInterrupts) || core.pendingSystick || core.pendingPendSV || core.pendingNMI) {
      core.waiting = false;
    }
    return false;
  };
}

/** An interrupt that arrives in the middle of something else only asks for attention; rp2040js enters it at once. */
function interruptsOnlyBetweenInstructions(core) {
  core.setInterrupt = (irq, level) => {
    const bit = 1 << irq;
    if (!level) {
      core.pendingInterrupts &= ~bit;
    } else if (!(core.pendingInterrupts & bit)) {
      core.pendingInterrupts |= bit;
      core.interruptsUpdated = true;
    }
  };
}

/** The divider runs beside the processor, so its 8 cycles are those that the program waits; and division by 0. */
function divider(sio) {
  sio.updateHardwareDivider = (signed) => {
    const dividend = signed ? sio.divDividend | 0 : sio.divDividend >>> 0;
    const divisor = signed ? sio.divDivisor | 0 : sio.divDivisor >>> 0;
    if (divisor === 0) {
      sio.divQuotient = dividend < 0 ? 1 : -1;
      sio.divRemainder = dividend;
    } else {
      sio.divQuotient = Math.trunc(dividend / divisor);
      sio.divRemainder = dividend % divisor;
    }
    sio.divCSR = 0b11;
  };
}

/** An alarm fires when the microsecond counter reaches its value; rp2040js fires up to a microsecond early. */
function timerAlarms(timer, clock) {
  const ALARM0 = 0x10, ALARM3 = 0x1c;
  const write = timer.writeUint32.bind(timer);
  timer.writeUint32 = (offset, value) => {
    write(offset, value);
    if (offset >= ALARM0 && offset <= ALARM3) {
      const now = Math.floor(clock.nanos / 1000);
      const microseconds = (value - now) >>> 0;
      timer.alarms[(offset - ALARM0) / 4].clockAlarm.schedule(Math.max(0, (now + microseconds) * 1000 - clock.nanos));
    }
  };
}

/** Core 1 is not emulated: enough of its mailbox answers that the SDK's reset of it (on every soft reset) comes back. */
function absentCore1(mcu) {
  const FIFO_ST = 0x50, FIFO_WR = 0x54, FIFO_RD = 0x58, VALID = 1, READY = 2, FRCE_OFF = 4, PROC1 = 1 << 16;
  const { sio } = mcu, psm = mcu.peripherals[0x40010];
  const read = sio.readUint32.bind(sio), write = sio.writeUint32.bind(sio), writePsm = psm.writeUint32.bind(psm);
  let inbox = [];
  sio.readUint32 = (offset) => {
    switch (offset) {
      case FIFO_ST: return (inbox.length ? VALID : 0) | READY;
      case FIFO_RD: return inbox.shift() ?? 0;
      default: return read(offset);
    }
  };
  sio.writeUint32 = (offset, value) => {
    if (offset === FIFO_ST) {
      return;
    }
    if (offset === FIFO_WR) {
      mcu.logger.error('SIO', 'core 1 is not emulated: nothing answers what was sent to it');
      return;
    }
    write(offset, value);
  };
  psm.writeUint32 = (offset, value) => {
    const wasOff = psm.frceOff & PROC1;
    writePsm(offset, value);
    if (offset === FRCE_OFF && wasOff && !(value & PROC1)) {
      inbox = [0]; // what the boot ROM of a core 1 that came out of reset sends
    }
  };
}
