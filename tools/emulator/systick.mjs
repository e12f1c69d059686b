// SysTick, counted in processor cycles: rp2040js's own counts one cycle short, and as a float of nanoseconds.
//
// The counter goes VAL = RELOAD ... 1, 0, RELOAD; reaching 0 sets COUNTFLAG and, if asked for, the exception. A write to
// VAL clears it and COUNTFLAG; the next cycle loads RELOAD.
const CSR = 0x10, RVR = 0x14, CVR = 0x18;
const ENABLE = 1, TICKINT = 2, CLKSOURCE = 4, COUNTFLAG = 1 << 16, MASK = 0xffffff;

export function installSysTick(mcu) {
  const { core, clock, ppb } = mcu;
  const read = ppb.readUint32.bind(ppb), write = ppb.writeUint32.bind(ppb);
  let control = 0, reload = 0, value = 0, since = 0, countFlag = false; // `value` was the counter at cycle `since`
  const alarm = clock.createAlarm(update);

  /** Brings `value` up to this cycle and notes the zeros that it passed. */
  function update() {
    const passed = core.cycles - since;
    since = core.cycles;
    if (control & ENABLE && passed > 0 && (value || reload)) {
      const first = value || reload + 1; // cycles to the first time the counter reads 0
      if (passed >= first) {
        countFlag = true;
        if (control & TICKINT) {
          core.pendingSystick = true;
          core.interruptsUpdated = true;
        }
      }
      const behind = (passed - first) % (reload + 1);
      value = passed < first ? first - passed : behind === 0 ? 0 : reload + 1 - behind;
    }
    schedule();
  }

  function schedule() {
    alarm.cancel();
    if ((control & (ENABLE | TICKINT)) === (ENABLE | TICKINT) && reload) {
      alarm.schedule((value || reload + 1) * 1e9 / mcu.clkSys);
    }
  }

  ppb.systickAlarm.enable = false;
  ppb.readUint32 = (offset) => {
    if (offset === CSR) {
      update();
      const flags = control | (countFlag ? COUNTFLAG : 0);
      countFlag = false;
      return flags;
    }
    if (offset === CVR) {
      update();
      return value;
    }
    return offset === RVR ? reload : read(offset);
  };
  ppb.writeUint32 = (offset, written) => {
    if (offset < CSR || offset > CVR) {
      write(offset, written);
      return;
    }
    update();
    if (offset === CSR) {
      control = written & (ENABLE | TICKINT | CLKSOURCE);
    } else if (offset === RVR) {
      reload = written & MASK;
    } else {
      value = 0;
      countFlag = false;
    }
    schedule();
  };
}
