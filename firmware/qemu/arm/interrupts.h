// The processor's mask of interrupts.
#ifndef QEMU_INTERRUPTS_H
#define QEMU_INTERRUPTS_H

#include <stdint.h>

static inline uint32_t interrupts_disable(void) {
    uint32_t before;
    __asm volatile ("mrs %0, PRIMASK\n cpsid i" : "=r" (before) : : "memory");
    return before;
}

// `before`: what interrupts_disable returned.
static inline void interrupts_restore(uint32_t before) {
    __asm volatile ("msr PRIMASK, %0\n isb" : : "r" (before) : "memory");
}

#endif
