// What ARMv8-M's main extension has for the guard: a limit below the kernel stack, and the address of a fault.
#ifndef KERN_GUARD_ARMV8M_H
#define KERN_GUARD_ARMV8M_H

#include "guard.h"
#include "guard_arm.h"

#define SCB_CFSR (*(volatile uint32_t *)0xe000ed28)
#define SCB_MMFAR (*(volatile uint32_t *)0xe000ed34)
#define SCB_BFAR (*(volatile uint32_t *)0xe000ed38)
#define SCB_CFSR_MMARVALID (1u << 7)
#define SCB_CFSR_BFARVALID (1u << 15)

static inline void guard_armv8m_limit_stack(void) {
    __asm volatile ("msr PSPLIM, %0" : : "r" (KERN_STACK_ADDRESS));
}

// Also clears the fault status, which gathers bits until then.
static inline uint32_t guard_armv8m_address(void) {
    uint32_t status = SCB_CFSR, address = GUARD_NO_ADDRESS;
    if (status & SCB_CFSR_BFARVALID) {
        address = SCB_BFAR;
    } else if (status & SCB_CFSR_MMARVALID) {
        address = SCB_MMFAR;
    }
    SCB_CFSR = status;
    return address;
}

#endif
