// What guard_rp2040.c and guard_armv6m.S share. Read by the assembler too.
#ifndef KERN_GUARD_ARMV6M_H
#define KERN_GUARD_ARMV6M_H

#include "kern_board.h"

#define GUARD_CLOCK (0x40054028)   // TIMERAWL: microseconds, low word
#define GUARD_CORE (0xd0000000)    // CPUID
#define GUARD_SYSTICK (0xe000e010) // CSR, RVR, CVR

// struct guard_progress, at the upper end of the kernel stack.
#define GUARD_PROGRESS (KERN_STACK_ADDRESS + KERN_STACK_SIZE - 16)

// Offsets of fields.
#define GUARD_PROGRESS_DEADLINE (0)
#define GUARD_PROGRESS_NEXT (4)
#define GUARD_PROGRESS_RETURNED (8)
#define GUARD_STATE_ACTIVE (0)
#define GUARD_STATE_TICKING (4)
#define GUARD_STATE_TICKET (8)
#define GUARD_END_CYCLES (4)

// Codes.
#define GUARD_RETURNED (-14)         // KERN_KERNEL_TRAP
#define GUARD_STOPPED (0x7fffffff)   // GUARD_NOT_READY
#define GUARD_ELSEWHERE (0x7ffffffe) // GUARD_BUSY

#endif
