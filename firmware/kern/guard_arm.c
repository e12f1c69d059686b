// The guard of Cortex-M: an alarm of the chip's is the deadline, SysTick counts cycles.
//
// The alarm is not set for every call. While calls are made it goes off every tick, or at the deadline if that is nearer; it
// then sees which call is under way and until when. Without calls it stops by itself.
#include "guard.h"

#include <stddef.h>

#include "guard_arm.h"

#define RETRY_US (5)
#define XPSR_THUMB (1u << 24)
#define EXC_RETURN_PSP (4) // bit of EXC_RETURN: what was interrupted ran on PSP

// How far guard_run has come.
struct guard_progress {
    uint32_t deadline;                     // of the call under way, in timer's microseconds, low word
    const struct guard_call *const *next;  // behind the call under way
    int32_t returned;                      // by the last call that returned something else than 0
};

struct guard_state {
    uint32_t active;  // guard_run is under way
    uint32_t ticking; // the alarm is set
    uint32_t ticket;  // what is in place
    uint32_t pc, address; // see struct guard_end
};

#define SAME_OFFSET(type, field, offset) _Static_assert(offsetof(struct type, field) == offset, #offset)
SAME_OFFSET(guard_progress, deadline, GUARD_PROGRESS_DEADLINE);
SAME_OFFSET(guard_progress, next, GUARD_PROGRESS_NEXT);
SAME_OFFSET(guard_progress, returned, GUARD_PROGRESS_RETURNED);
SAME_OFFSET(guard_state, active, GUARD_STATE_ACTIVE);
SAME_OFFSET(guard_state, ticking, GUARD_STATE_TICKING);
SAME_OFFSET(guard_state, ticket, GUARD_STATE_TICKET);
SAME_OFFSET(guard_end, cycles, GUARD_END_CYCLES);

#define clock_us (*(volatile const uint32_t *)GUARD_CLOCK)
#define progress ((volatile struct guard_progress *)GUARD_PROGRESS)

volatile struct guard_state guard_state;

void guard_run_end(void);
_Noreturn void guard_leave(int code);
void guard_start_ticking(void);
int guard_ended(int code, struct guard_end *end, const struct guard_call *const *calls);
void guard_alarm(uint32_t exc_return, struct guard_frame *frame);
void guard_fault(uint32_t exc_return, struct guard_frame *frame, const uint32_t *r4);

void guard_init(void) {
    guard_state.address = GUARD_NO_ADDRESS;
    guard_chip_init();
}

static uint32_t exception_number(void) {
    uint32_t ipsr;
    __asm volatile ("mrs %0, IPSR" : "=r" (ipsr));
    return ipsr;
}

bool guard_busy(void) {
    return (exception_number() | guard_chip_core()) != 0;
}

bool guard_inside(void) {
    return guard_state.active;
}

void guard_start_ticking(void) {
    guard_state.ticking = true;
    guard_chip_set_alarm(clock_us + GUARD_TICK_US);
}

int guard_ended(int code, struct guard_end *end, const struct guard_call *const *calls) {
    guard_chip_abandoned();
    end->done = progress->next - calls - 1;
    end->returned = code == KERN_KERNEL_TRAP ? progress->returned : 0;
    end->pc = guard_state.pc;
    end->address = guard_state.address;
    guard_state.pc = 0;
    guard_state.address = GUARD_NO_ADDRESS;
    if (end->done != 0 && code != GUARD_NOT_READY) {
        uint32_t began = progress->deadline - calls[end->done]->deadline_us;
        end->cycles = guard_chip_cycles(clock_us - began);
    }
    return code;
}

void guard_set_ticket(uint32_t ticket) {
    guard_state.ticket = ticket;
}

uint32_t guard_ticket(void) {
    return guard_state.ticket;
}

void guard_trap(int code, uintptr_t return_address) {
    guard_state.pc = return_address != 0 ? (return_address & ~1u) - 2 : 0; // in the instruction that called
    guard_leave(code);
}

static bool inside_kernel(uint32_t exc_return, const struct guard_frame *frame) {
    uint32_t begin = (uint32_t)guard_run & ~1u, size = (uint32_t)guard_run_end - begin;
    return (exc_return & EXC_RETURN_PSP) && frame->pc - begin >= size;
}

// Make the interrupted kernel go on at guard_leave(code) when the exception returns, and not in the midst of a conditional or a
// multiple instruction, as xPSR might say.
static void divert(struct guard_frame *frame, int code) {
    guard_state.pc = frame->pc;
    frame->pc = (uint32_t)guard_leave & ~1u;
    frame->r0 = (uint32_t)code;
    frame->xpsr = XPSR_THUMB;
}

void guard_alarm(uint32_t exc_return, struct guard_frame *frame) {
    guard_chip_end_alarm();
    if (!guard_state.active) {
        guard_state.ticking = false;
        return;
    }
    uint32_t now = clock_us, wait = RETRY_US; // between calls, or just before or after them
    if (inside_kernel(exc_return, frame)) {
        int32_t left = (int32_t)(progress->deadline - now);
        wait = left > 0 && left < GUARD_TICK_US ? (uint32_t)left : GUARD_TICK_US;
        if (left <= 0) {
            divert(frame, KERN_EPOCH_DEADLINE);
        }
    }
    guard_chip_set_alarm(now + wait);
}

// A kernel's fault ends the kernel; any other one stops.
void guard_fault(uint32_t exc_return, struct guard_frame *frame, const uint32_t *r4) {
    if (!guard_state.active || !(exc_return & EXC_RETURN_PSP)) {
        for (;;) {
            __asm volatile ("bkpt #0");
        }
    }
    guard_state.address = guard_chip_faulty_address(frame, r4);
    divert(frame, KERN_NATIVE_FAULT);
}
