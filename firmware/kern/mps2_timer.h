// Timers and clock of Arm's MPS2 boards, as QEMU has them, and the interrupt controller.
#ifndef KERN_MPS2_TIMER_H
#define KERN_MPS2_TIMER_H

#include <stdint.h>

#include "mps2.h"

struct mps2_timer {
    uint32_t control, value, reload, interrupt;
};

struct mps2_fpgaio {
    uint32_t led, reserved, button, reserved_too, seconds, hundredths, counter, prescale;
};

#define MPS2_MOST_US (UINT32_MAX / MPS2_CLOCK_MHZ)
#define MPS2_TIMER_ON (1 | 8) // with interrupt

#define mps2_fpgaio ((volatile struct mps2_fpgaio *)MPS2_FPGAIO)
#define mps2_timer(address) ((volatile struct mps2_timer *)(address))

// Go off once, in `us` microseconds, 1 at least.
static inline void mps2_timer_start(uint32_t timer, uint32_t us) {
    uint32_t ticks = us < MPS2_MOST_US ? us * MPS2_CLOCK_MHZ : UINT32_MAX;
    mps2_timer(timer)->control = 0;
    mps2_timer(timer)->reload = ticks;
    mps2_timer(timer)->value = ticks;
    mps2_timer(timer)->control = MPS2_TIMER_ON;
}

static inline void mps2_timer_stop(uint32_t timer) {
    mps2_timer(timer)->control = 0;
    mps2_timer(timer)->interrupt = 1;
}

static inline void mps2_interrupt_on(uint32_t number, uint8_t priority) {
    *(volatile uint8_t *)(0xe000e400 + number) = priority;
    *(volatile uint32_t *)(0xe000e100 + number / 32 * 4) = 1u << number % 32;
}

#endif
