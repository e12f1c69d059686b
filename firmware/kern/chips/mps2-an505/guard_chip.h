// Cortex-M33.
#ifndef KERN_GUARD_CHIP_H
#define KERN_GUARD_CHIP_H

#include "guard_mps2.h"

#ifndef __ASSEMBLER__

#include "guard_armv8m.h"

static inline void guard_chip_init(void) {
    guard_armv8m_limit_stack();
    guard_mps2_init();
}

static inline uint32_t guard_chip_faulty_address(const struct guard_frame *frame, const uint32_t *r4) {
    (void)frame, (void)r4;
    return guard_armv8m_address();
}

#endif

#endif
