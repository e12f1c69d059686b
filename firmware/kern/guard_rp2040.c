// Guard of the RP2040: alarm 0 of the timer is the deadline, SysTick counts cycles.
//
// The alarm is not set for every call. While calls are made it goes off every tick, or at the deadline if that is nearer; it
// then sees which call is under way and until when. Without calls it stops by itself.
#include "guard.h"

#include <stddef.h>

#include "hardware/clocks.h"
#include "hardware/irq.h"
#include "hardware/structs/sio.h"
#include "hardware/structs/systick.h"
#include "hardware/structs/timer.h"
#include "hardware/sync.h"
#include "hardware/timer.h"

#include "guard_armv6m.h"

#define ALARM (0)
#define RETRY_US (5)
#define EXC_RETURN_PSP (4) // bit of EXC_RETURN: what was interrupted ran on PSP

// What the processor pushes at an exception.
struct frame {
    uint32_t r0, r1, r2, r3, r12, lr, pc, xpsr;
};

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
_Static_assert(GUARD_RETURNED == KERN_KERNEL_TRAP && GUARD_STOPPED == GUARD_NOT_READY && GUARD_ELSEWHERE == GUARD_BUSY, "codes");
_Static_assert(GUARD_CLOCK == TIMER_BASE + TIMER_TIMERAWL_OFFSET && GUARD_CORE == SIO_BASE + SIO_CPUID_OFFSET
               && GUARD_SYSTICK == PPB_BASE + M0PLUS_SYST_CSR_OFFSET, "registers");

#define progress ((volatile struct guard_progress *)GUARD_PROGRESS)

volatile struct guard_state guard_state;

void guard_run_end(void);
_Noreturn void guard_leave(int code);
void guard_start_ticking(void);
int guard_ended(int code, struct guard_end *end, const struct guard_call *const *calls);
void guard_alarm_isr(void);
void guard_alarm(uint32_t exc_return, struct frame *frame);
void guard_fault(uint32_t exc_return, struct frame *frame, const uint32_t *r4);

void guard_init(void) {
    guard_state.address = GUARD_NO_ADDRESS;
    hardware_alarm_claim(ALARM);
    irq_set_exclusive_handler(TIMER_IRQ_0, guard_alarm_isr);
    irq_set_priority(TIMER_IRQ_0, PICO_LOWEST_IRQ_PRIORITY);
    irq_set_enabled(TIMER_IRQ_0, true);
    hw_set_bits(&timer_hw->inte, 1u << ALARM);
}

bool guard_busy(void) {
    return (__get_current_exception() | get_core_num()) != 0;
}

bool guard_inside(void) {
    return guard_state.active;
}

// The alarm compares for equality: for a time that has just passed it would go off an hour later.
static void arm(uint32_t at) {
    timer_hw->alarm[ALARM] = at;
    if ((int32_t)(timer_hw->timerawl - at) >= 0) {
        irq_set_pending(TIMER_IRQ_0);
    }
}

void guard_start_ticking(void) {
    guard_state.ticking = true;
    arm(timer_hw->timerawl + GUARD_TICK_US);
}

int guard_ended(int code, struct guard_end *end, const struct guard_call *const *calls) {
    // A division that was left half way would be taken for an interrupted one and its result put back: reading the
    // quotient tells the divider that nobody waits for it.
    (void)sio_hw->div_quotient;
    end->done = progress->next - calls - 1;
    end->returned = code == KERN_KERNEL_TRAP ? progress->returned : 0;
    end->pc = guard_state.pc;
    end->address = guard_state.address;
    guard_state.pc = 0;
    guard_state.address = GUARD_NO_ADDRESS;
    if (end->done != 0 && code != GUARD_NOT_READY) {
        uint32_t began = progress->deadline - calls[end->done]->deadline_us;
        end->cycles = (timer_hw->timerawl - began) * (clock_get_hz(clk_sys) / 1000000);
    }
    return code;
}

void guard_set_ticket(uint32_t ticket) {
    guard_state.ticket = ticket;
}

int guard_run_one(struct guard_call *call, struct guard_end *end) {
    const struct guard_call *calls = call;
    call->ticket = guard_state.ticket;
    return guard_run(&calls, 1, call->kind, end);
}

int guard_run_trusted(int (*function)(void *argument), void *argument) {
    struct guard_call call = { .deadline_us = INT32_MAX, .arg = { (uint32_t)argument }, .entry = function };
    struct guard_end end;
    int error = guard_run_one(&call, &end);
    return error == KERN_KERNEL_TRAP ? end.returned : error;
}

void guard_trap(int code, uintptr_t return_address) {
    guard_state.pc = return_address != 0 ? (return_address & ~1u) - 2 : 0; // in the instruction that called
    guard_leave(code);
}

static bool inside_kernel(uint32_t exc_return, const struct frame *frame) {
    uint32_t begin = (uint32_t)guard_run & ~1u, size = (uint32_t)guard_run_end - begin;
    return (exc_return & EXC_RETURN_PSP) && frame->pc - begin >= size;
}

// Make the interrupted kernel go on at guard_leave(code) when the exception returns.
static void divert(struct frame *frame, int code) {
    guard_state.pc = frame->pc;
    frame->pc = (uint32_t)guard_leave & ~1u;
    frame->r0 = (uint32_t)code;
}

void guard_alarm(uint32_t exc_return, struct frame *frame) {
    timer_hw->intr = 1u << ALARM;
    if (!guard_state.active) {
        guard_state.ticking = false;
        return;
    }
    uint32_t now = timer_hw->timerawl, wait = RETRY_US; // between calls, or just before or after them
    if (inside_kernel(exc_return, frame)) {
        int32_t left = (int32_t)(progress->deadline - now);
        wait = left > 0 && left < GUARD_TICK_US ? (uint32_t)left : GUARD_TICK_US;
        if (left <= 0) {
            divert(frame, KERN_EPOCH_DEADLINE);
        }
    }
    arm(now + wait);
}

// The address that the load or store at frame->pc was to. For any other instruction it means nothing.
static uint32_t faulty_address(const struct frame *frame, const uint32_t *r4) {
    uint32_t op = *(const uint16_t *)frame->pc;
    uint32_t low[8] = { frame->r0, frame->r1, frame->r2, frame->r3, r4[0], r4[1], r4[2], r4[3] };
    uint32_t n = low[op >> 3 & 7], offset = op >> 6 & 31;
    switch (op >> 12) {
        case 5: // register offset
            return n + low[op >> 6 & 7];
        case 6: // word, immediate offset
            return n + 4 * offset;
        case 8: // halfword, immediate offset
            return n + 2 * offset;
        case 12: // multiple
            return low[op >> 8 & 7];
        default:
            return GUARD_NO_ADDRESS;
    }
}

// A kernel's fault ends the kernel; any other one stops, as the SDK's handler does.
void guard_fault(uint32_t exc_return, struct frame *frame, const uint32_t *r4) {
    if (!guard_state.active || !(exc_return & EXC_RETURN_PSP)) {
        for (;;) {
            __breakpoint();
        }
    }
    if (frame->pc - XIP_BASE < PICO_FLASH_SIZE_BYTES) {
        guard_state.address = faulty_address(frame, r4);
    }
    divert(frame, KERN_NATIVE_FAULT);
}
