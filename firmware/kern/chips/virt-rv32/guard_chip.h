// Machine mode on QEMU's board virt, run with -icount shift=3 (see board.toml): an instruction takes 8 ns.
#ifndef KERN_GUARD_CHIP_H
#define KERN_GUARD_CHIP_H

#define GUARD_CLOCK_MHZ (10)
#define GUARD_CYCLES_SHIFT (3) // mcycle counts nanoseconds there

#ifdef __ASSEMBLER__

    .macro guard_clock low, high, scratch
.Lagain\@:
    csrr \high, timeh
    csrr \low, time
    csrr \scratch, timeh
    bne \high, \scratch, .Lagain\@
    .endm

    .macro guard_cycles register
    csrr \register, mcycle
    .endm

#else

#include "virt.h"

_Static_assert(GUARD_CLOCK_MHZ == VIRT_CLOCK_MHZ, "one clock");

static inline uint64_t guard_chip_clock(void) {
    return virt_clock();
}

static inline uint32_t guard_chip_cycles(void) {
    uint32_t cycles;
    __asm volatile ("csrr %0, mcycle" : "=r" (cycles));
    return cycles;
}

// The trap handler calls guard_alarm from the start.
static inline void guard_chip_init(void) {
}

static inline void guard_chip_set_alarm(uint64_t at) {
    virt_set_alarm(VIRT_ALARM_GUARD, at);
}

static inline void guard_chip_end_alarm(void) {
    virt_set_alarm(VIRT_ALARM_GUARD, VIRT_NEVER);
}

#endif

#endif
