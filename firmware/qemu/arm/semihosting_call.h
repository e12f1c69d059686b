// Semihosting on Cortex-M.
#ifndef QEMU_SEMIHOSTING_CALL_H
#define QEMU_SEMIHOSTING_CALL_H

#include <stdint.h>

// `argument`: as the operation wants it, mostly an array of words.
static inline uint32_t semihosting(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm("r0") = operation;
    register const void *r1 __asm("r1") = argument;
    __asm volatile ("bkpt #0xab" : "+r" (r0) : "r" (r1) : "memory");
    return r0;
}

#endif
