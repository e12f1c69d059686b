// The processor's mask of interrupts, in machine mode.
#ifndef QEMU_INTERRUPTS_H
#define QEMU_INTERRUPTS_H

#include <stdint.h>

#define MSTATUS_MIE (1u << 3)

static inline uint32_t interrupts_disable(void) {
    uint32_t before;
    __asm volatile ("csrrci %0, mstatus, %1" : "=r" (before) : "i" (MSTATUS_MIE) : "memory");
    return before;
}

// `before`: what interrupts_disable returned.
static inline void interrupts_restore(uint32_t before) {
    __asm volatile ("csrs mstatus, %0" : : "r" (before & MSTATUS_MIE) : "memory");
}

#endif
