// What guard_riscv32.c and guard_riscv32.S share. Read by the assembler too.
#ifndef KERN_GUARD_RISCV32_H
#define KERN_GUARD_RISCV32_H

#include "guard_codes.h"
#include "kern_board.h"

// struct guard_progress, at the upper end of the kernel stack.
#define GUARD_PROGRESS (KERN_STACK_ADDRESS + KERN_STACK_SIZE - 32)

// Offsets of fields.
#define GUARD_PROGRESS_DEADLINE (0)
#define GUARD_PROGRESS_NEXT (8)
#define GUARD_PROGRESS_RETURNED (12)
#define GUARD_PROGRESS_BEGAN (16)
#define GUARD_STATE_ACTIVE (0)
#define GUARD_STATE_TICKING (4)
#define GUARD_STATE_TICKET (8)
#define GUARD_STATE_STACK (12)
#define GUARD_CALL_KIND (0)
#define GUARD_CALL_TICKET (4)
#define GUARD_CALL_DEADLINE (8)
#define GUARD_CALL_ARG (12)
#define GUARD_CALL_ENTRY (24)
#define GUARD_END_CYCLES (4)

#ifndef __ASSEMBLER__
#include <stdbool.h>
#include <stdint.h>

// For the port's trap handler, which must not use the stack that it finds: a kernel may have ruined it. Both are given where what was
// interrupted had its stack, and where its pc and a0 are saved. They change these two to end the call under way.
void guard_alarm(uint32_t sp, uint32_t *pc, uint32_t *a0); // the alarm's interrupt
bool guard_fault(uint32_t sp, uint32_t *pc, uint32_t *a0, uint32_t address); // false: of an exception that no kernel made
#endif

// What differs between chips, in chips/<chip>/guard_chip.h. For both:
//   GUARD_CLOCK_MHZ                     what the clock, of 64 bits, counts
//   GUARD_CYCLES_SHIFT                  log2 of what the counter of cycles, of 32 bits, counts a cycle
// for the assembler:
//   guard_clock low, high, scratch
//   guard_cycles register
// and for C:
//   uint64_t guard_chip_clock(void)
//   uint32_t guard_chip_cycles(void)
//   void guard_chip_init(void)               have guard_alarm called by the alarm
//   void guard_chip_set_alarm(uint64_t at)   at that time on the clock, at once if it has passed
//   void guard_chip_end_alarm(void)          it went off
#include "guard_chip.h"

#endif
