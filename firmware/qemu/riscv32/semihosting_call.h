// Semihosting on RISC-V: https://github.com/riscv-non-isa/riscv-semihosting
#ifndef QEMU_SEMIHOSTING_CALL_H
#define QEMU_SEMIHOSTING_CALL_H

#include <stdint.h>

// `argument`: as the operation wants it, mostly an array of words. The three instructions must be long ones, in one page.
static inline uint32_t semihosting(uint32_t operation, const void *argument) {
    register uint32_t a0 __asm("a0") = operation;
    register const void *a1 __asm("a1") = argument;
    __asm volatile (
        ".option push\n"
        ".balign 16\n"
        ".option norvc\n"
        "slli zero, zero, 0x1f\n"
        "ebreak\n"
        "srai zero, zero, 7\n"
        ".option pop"
        : "+r" (a0) : "r" (a1) : "memory");
    return a0;
}

#endif
