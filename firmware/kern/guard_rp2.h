// What the guard has in common on RP2040 and RP2350: alarm 0 of the timer that MicroPython has too. GUARD_CLOCK is the chip's.
#ifndef KERN_GUARD_RP2_H
#define KERN_GUARD_RP2_H

#define GUARD_RP2_CPUID (0xd0000000)

#ifdef __ASSEMBLER__

    .macro guard_core_number register
    ldr \register, =GUARD_RP2_CPUID
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

#define GUARD_ALARM (0)
#define GUARD_IRQ TIMER_ALARM_IRQ_NUM(timer_hw, GUARD_ALARM)

_Static_assert(GUARD_RP2_CPUID == SIO_BASE + SIO_CPUID_OFFSET, "registers");

static inline uint32_t guard_chip_core(void) {
    return get_core_num();
}

static inline void guard_rp2_init(void) {
    hardware_alarm_claim(GUARD_ALARM);
    irq_set_exclusive_handler(GUARD_IRQ, guard_alarm_isr);
    irq_set_priority(GUARD_IRQ, PICO_LOWEST_IRQ_PRIORITY);
    irq_set_enabled(GUARD_IRQ, true);
    hw_set_bits(&timer_hw->inte, 1u << GUARD_ALARM);
}

// The alarm compares for equality: for a time that has just passed it would go off an hour later.
static inline void guard_chip_set_alarm(uint32_t at) {
    timer_hw->alarm[GUARD_ALARM] = at;
    if ((int32_t)(timer_hw->timerawl - at) >= 0) {
        irq_set_pending(GUARD_IRQ);
    }
}

static inline void guard_chip_end_alarm(void) {
    timer_hw->intr = 1u << GUARD_ALARM;
}

static inline uint32_t guard_chip_cycles(uint32_t us) {
    return us * (clock_get_hz(clk_sys) / 1000000);
}

#endif

#endif
