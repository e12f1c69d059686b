// What guard_arm.c and guard_arm.S share. Read by the assembler too.
#ifndef KERN_GUARD_ARM_H
#define KERN_GUARD_ARM_H

#include "guard_codes.h"
#include "kern_board.h"

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

#ifndef __ASSEMBLER__
#include <stdint.h>

// What the processor pushes at an exception.
struct guard_frame {
    uint32_t r0, r1, r2, r3, r12, lr, pc, xpsr;
};

void guard_alarm_isr(void);
#endif

// What differs between chips, in chips/<chip>/guard_chip.h. For both:
//   GUARD_CLOCK                       address of the low word of a counter of microseconds
// for the assembler:
//   guard_core_number register        0: the core that kernels run on
//   guard_to_cycles ticks, scratch    SysTick's ticks to cycles, in the same register
// and for C:
//   uint32_t guard_chip_core(void)
//   void guard_chip_init(void)                 have guard_alarm_isr called by the alarm, at the lowest priority
//   void guard_chip_set_alarm(uint32_t at)     at that time on the clock, at once if it has passed
//   void guard_chip_end_alarm(void)            it went off
//   uint32_t guard_chip_cycles(uint32_t us)    that many microseconds
//   void guard_chip_abandoned(void)            a call ended at any instruction
//   uint32_t guard_chip_faulty_address(const struct guard_frame *frame, const uint32_t *r4)
#include "guard_chip.h"

#endif
