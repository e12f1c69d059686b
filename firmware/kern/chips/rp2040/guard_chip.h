// RP2040: two Cortex-M0+ and a divider beside them; faults carry no address.
#ifndef KERN_GUARD_CHIP_H
#define KERN_GUARD_CHIP_H

#define GUARD_CLOCK (0x40054028) // TIMERAWL

#include "guard_rp2.h"

#ifndef __ASSEMBLER__

#include "guard_thumb1.h"

_Static_assert(GUARD_CLOCK == TIMER_BASE + TIMER_TIMERAWL_OFFSET && GUARD_SYSTICK == PPB_BASE + M0PLUS_SYST_CSR_OFFSET, "registers");

static inline void guard_chip_init(void) {
    guard_rp2_init();
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
