// The guard of RISC-V, in machine mode: an alarm of the chip's is the deadline.
//
// The alarm is not set for every call. While calls are made it goes off every tick, or at the deadline if that is nearer; it
// then sees which call is under way and until when. Without calls it stops by itself.
#include "guard.h"

#include <stddef.h>

#include "guard_riscv32.h"

#define RETRY_US (5)
#define MSTATUS_MIE (1u << 3)

// How far guard_run has come.
struct guard_progress {
    uint64_t deadline;                    // of the call under way, on the chip's clock
    const struct guard_call *const *next; // behind the call under way
    int32_t returned;                     // by the last call that returned something else than 0
    uint32_t began;                       // the call under way, on the counter of cycles
};

struct guard_state {
    uint32_t active;      // guard_run is under way
    uint32_t ticking;     // the alarm is set
    uint32_t ticket;      // what is in place
    uint32_t stack;       // of guard_run's caller, while active
    uint32_t pc, address; // see struct guard_end
};

#define SAME_OFFSET(type, field, offset) _Static_assert(offsetof(struct type, field) == offset, #offset)
SAME_OFFSET(guard_progress, deadline, GUARD_PROGRESS_DEADLINE);
SAME_OFFSET(guard_progress, next, GUARD_PROGRESS_NEXT);
SAME_OFFSET(guard_progress, returned, GUARD_PROGRESS_RETURNED);
SAME_OFFSET(guard_progress, began, GUARD_PROGRESS_BEGAN);
SAME_OFFSET(guard_state, active, GUARD_STATE_ACTIVE);
SAME_OFFSET(guard_state, ticking, GUARD_STATE_TICKING);
SAME_OFFSET(guard_state, ticket, GUARD_STATE_TICKET);
SAME_OFFSET(guard_state, stack, GUARD_STATE_STACK);
SAME_OFFSET(guard_call, kind, GUARD_CALL_KIND);
SAME_OFFSET(guard_call, ticket, GUARD_CALL_TICKET);
SAME_OFFSET(guard_call, deadline_us, GUARD_CALL_DEADLINE);
SAME_OFFSET(guard_call, arg, GUARD_CALL_ARG);
SAME_OFFSET(guard_call, entry, GUARD_CALL_ENTRY);
SAME_OFFSET(guard_end, cycles, GUARD_END_CYCLES);
_Static_assert(GUARD_PROGRESS + sizeof(struct guard_progress) <= KERN_STACK_ADDRESS + KERN_STACK_SIZE, "room for it");

#define progress ((volatile struct guard_progress *)GUARD_PROGRESS)

volatile struct guard_state guard_state;

void guard_run_end(void);
_Noreturn void guard_leave(int code);
void guard_start_ticking(void);
int guard_ended(int code, struct guard_end *end, const struct guard_call *const *calls);

void guard_init(void) {
    guard_state.address = GUARD_NO_ADDRESS;
    guard_chip_init();
}

// Handlers run with interrupts off, and without interrupts there is no deadline.
bool guard_busy(void) {
    uint32_t mstatus;
    __asm volatile ("csrr %0, mstatus" : "=r" (mstatus));
    return (mstatus & MSTATUS_MIE) == 0;
}

bool guard_inside(void) {
    return guard_state.active;
}

void guard_start_ticking(void) {
    guard_state.ticking = true;
    guard_chip_set_alarm(guard_chip_clock() + GUARD_TICK_US * GUARD_CLOCK_MHZ);
}

int guard_ended(int code, struct guard_end *end, const struct guard_call *const *calls) {
    end->done = progress->next - calls - 1;
    end->returned = code == KERN_KERNEL_TRAP ? progress->returned : 0;
    end->pc = guard_state.pc;
    end->address = guard_state.address;
    guard_state.pc = 0;
    guard_state.address = GUARD_NO_ADDRESS;
    if (end->done != 0 && code != GUARD_NOT_READY) {
        end->cycles = (guard_chip_cycles() - progress->began) >> GUARD_CYCLES_SHIFT;
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
    guard_state.pc = return_address != 0 ? return_address - 2 : 0; // in the instruction that called
    guard_leave(code);
}

static bool inside_kernel(uint32_t sp, uint32_t pc) {
    uint32_t begin = (uint32_t)guard_run, size = (uint32_t)guard_run_end - begin;
    return guard_state.active && sp - KERN_STACK_ADDRESS < KERN_STACK_SIZE && pc - begin >= size;
}

// Make the interrupted kernel go on at guard_leave(code) when the trap returns.
static void divert(uint32_t *pc, uint32_t *a0, int code) {
    guard_state.pc = *pc;
    *pc = (uint32_t)guard_leave;
    *a0 = (uint32_t)code;
}

void guard_alarm(uint32_t sp, uint32_t *pc, uint32_t *a0) {
    if (!guard_state.active) {
        guard_state.ticking = false;
        guard_chip_end_alarm();
        return;
    }
    uint64_t now = guard_chip_clock();
    uint32_t wait = RETRY_US * GUARD_CLOCK_MHZ; // between calls, or just before or after them
    if (inside_kernel(sp, *pc)) {
        int64_t left = (int64_t)(progress->deadline - now);
        wait = GUARD_TICK_US * GUARD_CLOCK_MHZ;
        if (left <= 0) {
            divert(pc, a0, KERN_EPOCH_DEADLINE);
        } else if (left < wait) {
            wait = (uint32_t)left;
        }
    }
    guard_chip_set_alarm(now + wait);
}

bool guard_fault(uint32_t sp, uint32_t *pc, uint32_t *a0, uint32_t address) {
    if (!inside_kernel(sp, *pc)) {
        return false;
    }
    guard_state.address = address;
    divert(pc, a0, KERN_NATIVE_FAULT);
    return true;
}
