// One way into kernels and one way out. A call runs on the kernel stack and ends by returning, by a trap, by a fault of
// the processor, or by the deadline. Knows neither WAMR nor MicroPython; one implementation per port, with guard.c for all.
//
// Everything that a kernel can reach must be pure, or safe to be left at any instruction: the deadline does just that.
#ifndef KERN_GUARD_H
#define KERN_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "guard_codes.h"
#include "kern_errors.h"

#define GUARD_TICK_US (10000)         // no deadline is shorter
#define GUARD_NO_ADDRESS (UINT32_MAX) // and no fault's: an odd one at the end of 32 bits

#ifdef __arm__
#define GUARD_FAR __attribute__((long_call)) // it is in RAM, far from flash
#else
#define GUARD_FAR
#endif

// Read by the guards in assembly.
struct guard_call {
    const void *kind;     // what the object is that begins here
    uint32_t ticket;      // what has to be in place for the call
    uint32_t deadline_us; // GUARD_TICK_US at least
    uintptr_t arg[3];
    void *entry;          // function of up to three words that returns 0, or another word when it failed
};

// The first field is set unless all went well, `cycles` always, the others when a call ended otherwise than by returning 0.
struct guard_end {
    uint32_t done;     // calls that returned 0
    uint32_t cycles;   // of that call, or of all, kernel stack set-up included; what is counted, and where it wraps, is the port's
    int32_t returned;  // what its function returned; 0 when it did not
    uintptr_t pc;      // where it was ended, 0 when it returned
    uintptr_t address; // that the faulty access was to, or GUARD_NO_ADDRESS
};

// Claim the timer and the fault handler; once.
void guard_init(void);

// Here is an interrupt handler, or not the core that kernels run on.
bool guard_busy(void);

// A call is under way, so this is the kernel stack, or an interrupt handler above it.
bool guard_inside(void);

// What is in place from now on. Calls with another ticket are not ready.
void guard_set_ticket(uint32_t ticket);
uint32_t guard_ticket(void);

// Make `count` calls, not 0, in order. Goes on to the next one, also to the first, only if it is of that kind and ready.
// KERN_OK when all returned 0. GUARD_NOT_READY in front of one of another kind, with another ticket, or with one of the two lowest bits
// of its address set. Of one that ended otherwise: KERN_KERNEL_TRAP when it returned something else, KERN_EPOCH_DEADLINE,
// KERN_NATIVE_FAULT, or the code of guard_trap. GUARD_BUSY when guard_busy(); `end` is then undefined.
int guard_run(const struct guard_call *const *calls, uint32_t count, const void *kind, struct guard_end *end) GUARD_FAR;

// One call, whatever is in place.
int guard_run_one(struct guard_call *call, struct guard_end *end);

// What a function of ours returns, run on the kernel stack and without a deadline.
int guard_run_trusted(int (*function)(void *argument), void *argument);

// End the call under way with `code`, which is not 0. Called on the kernel stack, by what the kernel called from before that address; 0 when it is
// not known.
_Noreturn void guard_trap(int code, uintptr_t return_address);

#endif
