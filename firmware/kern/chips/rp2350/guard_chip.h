// RP2350: two Cortex-M33.
#ifndef KERN_GUARD_CHIP_H
#define KERN_GUARD_CHIP_H

#define GUARD_CLOCK (0x400b0028) // TIMERAWL of TIMER0

#include "guard_rp2.h"

#ifndef __ASSEMBLER__

#include "guard_armv8m.h"

_Static_assert(GUARD_CLOCK == TIMER0_BASE + TIMER_TIMERAWL_OFFSET && GUARD_SYSTICK == PPB_BASE + M33_SYST_CSR_OFFSET, "registers");

static inline void guard_chip_init(void) {
    guard_armv8m_limit_stack();
    guard_rp2_init();
}

static inline void guard_chip_abandoned(void) {
}

static inline uint32_t guard_chip_faulty_address(const struct guard_frame *frame, const uint32_t *r4) {
    (void)frame, (void)r4;
    return guard_armv8m_address();
}

#endif

#endif
