// Requests to the computer that QEMU runs on: https://github.com/ARM-software/abi-aa/blob/main/semihosting/semihosting.rst
#ifndef QEMU_SEMIHOSTING_H
#define QEMU_SEMIHOSTING_H

#include <stdint.h>

#include "semihosting_call.h" // the processor's way

#define SEMIHOSTING_OPEN (0x01)
#define SEMIHOSTING_CLOSE (0x02)
#define SEMIHOSTING_WRITE0 (0x04)
#define SEMIHOSTING_WRITE (0x05)
#define SEMIHOSTING_READ (0x06)
#define SEMIHOSTING_SEEK (0x0a)
#define SEMIHOSTING_GET_CMDLINE (0x15)
#define SEMIHOSTING_EXIT (0x18)

#define SEMIHOSTING_OPEN_UPDATE (3) // "r+b"
#define SEMIHOSTING_RUNTIME_ERROR (0x20023)

// End QEMU, as after a failure.
static inline _Noreturn void semihosting_exit(void) {
    semihosting(SEMIHOSTING_EXIT, (const void *)SEMIHOSTING_RUNTIME_ERROR);
    __builtin_unreachable();
}

#endif
