// One way into a kernel and one way out. A call runs on the kernel stack and ends by returning, by a trap, by a fault of
// the processor, or by the deadline. Knows neither WAMR nor MicroPython; one implementation per port.
//
// Everything that a kernel can reach must be pure, or safe to be left at any instruction: the deadline does just that.
#ifndef KERN_GUARD_H
#define KERN_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "kern_errors.h"

#define GUARD_NO_DEADLINE (0)

struct guard_call {
    void *entry;        // function of up to three words that returns one or none
    uint32_t arg[3];
    void *stack_top;    // set by guard_run
    uint32_t result;    // what the function returned; undefined when it returns nothing
    uint32_t cycles;    // of the processor's clock, kernel stack set-up included; wraps at 2^24
    uint32_t pc;        // where the call was ended, 0 when it returned
};

// Claim the timer and the fault handler; once.
void guard_init(void);

// A call is under way, or the caller is not on the core that kernels run on: guard_run must not be called.
bool guard_busy(void);

// Run `call`. KERN_OK when it returned, KERN_EPOCH_DEADLINE after `deadline_us`, KERN_NATIVE_FAULT, or the code of guard_trap.
int guard_run(struct guard_call *call, uint32_t deadline_us) __attribute__((warn_unused_result));

// End the call under way with `code`, which is not 0. Called on the kernel stack.
_Noreturn void guard_trap(int code, uint32_t pc);

#endif
