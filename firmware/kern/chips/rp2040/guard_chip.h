// RP2040: alarm 0 of the timer; faults carry no address.
#ifndef KERN_GUARD_CHIP_H
#define KERN_GUARD_CHIP_H

#define GUARD_CLOCK (0x40054028) // TIMERAWL

#ifdef __ASSEMBLER__

    .macro guard_core_number register
    ldr \register, =0xd0000000 // CPUID
    ldr \register, [\register]
    .endm

    .macro guard_to_cycles ticks, scratch
    .endm

#else

#include "hardware/clocks.h"
#include "hardware/irq.h"
#include "hardware/structs/sio.h"
#include "hardware/structs/timer.h"
#include "hardware/sync.h"
#include "hardware/timer.h"

#include "guard_thumb1.h"

#define GUARD_ALARM (0)

_Static_assert(GUARD_CLOCK == TIMER_BASE + TIMER_TIMERAWL_OFFSET && 0xd0000000 == SIO_BASE + SIO_CPUID_OFFSET
               && GUARD_SYSTICK == PPB_BASE + M0PLUS_SYST_CSR_OFFSET, "registers");

static inline uint32_t guard_chip_core(void) {
    return get_core_num();
}

static inline void guard_chip_init(void) {
    hardware_alarm_claim(GUARD_ALARM);
    irq_set_exclusive_handler(TIMER_IRQ_0, guard_alarm_isr);
    irq_set_priority(TIMER_IRQ_0, PICO_LOWEST_IRQ_PRIORITY);
    irq_set_enabled(TIMER_IRQ_0, true);
    hw_set_bits(&timer_hw->inte, 1u << GUARD_ALARM);
}

// The alarm compares for equality: for a time that has just passed it would go off an hour later.
static inline void guard_chip_set_alarm(uint32_t at) {
    timer_hw->alarm[GUARD_ALARM] = at;
    if ((int32_t)(timer_hw->timerawl - at) >= 0) {
        irq_set_pending(TIMER_IRQ_0);
    }
}

static inline void guard_chip_end_alarm(void) {
    timer_hw->intr = 1u << GUARD_ALARM;
}

static inline uint32_t guard_chip_cycles(uint32_t us) {
    return us * (clock_get_hz(clk_sys) / 1000000);
}

// A division that was left half way would be taken for an interrupted one and its result put back: reading the quotient
// tells the divider that nobody waits for it.
static inline void guard_chip_abandoned(void) {
    (void)sio_hw->div_quotient;
}

static inline uint32_t guard_chip_faulty_address(const struct guard_frame *frame, const uint32_t *r4) {
    return frame->pc - XIP_BASE < PICO_FLASH_SIZE_BYTES ? guard_thumb1_address(frame, r4) : GUARD_NO_ADDRESS;
}

#endif

#endif
