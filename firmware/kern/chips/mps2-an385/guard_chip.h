// Cortex-M3, which runs the same bytes as a Cortex-M0+: misaligned accesses are faults, as they are there.
#ifndef KERN_GUARD_CHIP_H
#define KERN_GUARD_CHIP_H

#include "guard_mps2.h"

#ifndef __ASSEMBLER__

#include "guard_thumb1.h"

#define SCB_CCR (*(volatile uint32_t *)0xe000ed14)
#define SCB_CCR_UNALIGN_TRP (1 << 3)

static inline void guard_chip_init(void) {
    SCB_CCR |= SCB_CCR_UNALIGN_TRP;
    guard_mps2_init();
}

// The fault status has the address of a bus fault only, and the instruction has it for the others too.
static inline uint32_t guard_chip_faulty_address(const struct guard_frame *frame, const uint32_t *r4) {
    return frame->pc - KERN_FLASH_ADDRESS < KERN_FLASH_SIZE ? guard_thumb1_address(frame, r4) : GUARD_NO_ADDRESS;
}

#endif

#endif
