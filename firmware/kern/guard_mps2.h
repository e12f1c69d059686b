// What the guard has in common on the MPS2 boards: timer 0 is the alarm. One core.
#ifndef KERN_GUARD_MPS2_H
#define KERN_GUARD_MPS2_H

#include "icount.h"
#include "mps2.h"

#define GUARD_CLOCK (MPS2_FPGAIO + 0x18) // COUNTER, which board_init has count microseconds

#ifdef __ASSEMBLER__

    .macro guard_core_number register
    movs \register, #0
    .endm

    .macro guard_to_cycles ticks, scratch
    movs \scratch, #(4 * ICOUNT_MHZ / MPS2_CLOCK_MHZ)
    muls \ticks, \scratch
    lsrs \ticks, #2
    .endm

#else

#include "mps2_timer.h"

static inline uint32_t guard_chip_core(void) {
    return 0;
}

// guard_alarm_isr is in the vector table. QEMU warns of a SysTick that is started with nothing to count.
static inline void guard_mps2_init(void) {
    *(volatile uint32_t *)(GUARD_SYSTICK + 4) = 0xffffff;
    mps2_interrupt_on(MPS2_TIMER0_IRQ, 0xff);
}

static inline void guard_chip_set_alarm(uint32_t at) {
    int32_t left = (int32_t)(at - mps2_fpgaio->counter);
    mps2_timer_start(MPS2_TIMER0, left > 0 ? (uint32_t)left : 1);
}

static inline void guard_chip_end_alarm(void) {
    mps2_timer_stop(MPS2_TIMER0);
}

static inline uint32_t guard_chip_cycles(uint32_t us) {
    return us * ICOUNT_MHZ;
}

static inline void guard_chip_abandoned(void) {
}

#endif

#endif
