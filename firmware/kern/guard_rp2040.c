// Guard of the RP2040: alarm 0 of the timer is the deadline, SysTick counts cycles.
#include "guard.h"

#include "hardware/irq.h"
#include "hardware/structs/sio.h"
#include "hardware/structs/systick.h"
#include "hardware/structs/timer.h"
#include "hardware/sync.h"
#include "hardware/timer.h"

#include "kern_board.h"

#define ALARM (0)
#define RETRY_US (5)
#define EXC_RETURN_PSP (4) // bit of EXC_RETURN: what was interrupted ran on PSP

// What the processor pushes at an exception.
struct frame {
    uint32_t r0, r1, r2, r3, r12, lr, pc, xpsr;
};

int guard_enter(struct guard_call *call);
_Noreturn void guard_leave(int code);
void guard_alarm_isr(void);
void guard_alarm(uint32_t exc_return, struct frame *frame);
void guard_fault(uint32_t exc_return, struct frame *frame);

static volatile struct {
    bool active;
    uint32_t deadline; // timer's microseconds, low word
    uint32_t pc;
} guard;

void guard_init(void) {
    hardware_alarm_claim(ALARM);
    irq_set_exclusive_handler(TIMER_IRQ_0, guard_alarm_isr);
    irq_set_priority(TIMER_IRQ_0, PICO_LOWEST_IRQ_PRIORITY);
    irq_set_enabled(TIMER_IRQ_0, true);
    hw_set_bits(&timer_hw->inte, 1u << ALARM);
}

bool guard_busy(void) {
    return guard.active || get_core_num() != 0;
}

static void arm(uint32_t deadline_us) {
    uint32_t interrupts = save_and_disable_interrupts();
    guard.deadline = timer_hw->timerawl + deadline_us;
    timer_hw->alarm[ALARM] = guard.deadline;
    restore_interrupts(interrupts);
}

static void disarm(void) {
    timer_hw->armed = 1u << ALARM;
    timer_hw->intr = 1u << ALARM;
}

int guard_run(struct guard_call *call, uint32_t deadline_us) {
    call->stack_top = (void *)(KERN_STACK_ADDRESS + KERN_STACK_SIZE);
    guard.pc = 0;
    guard.active = true;
    // Set each time: machine.bitstream uses SysTick too.
    systick_hw->rvr = 0xffffff;
    systick_hw->csr = 5;
    if (deadline_us != GUARD_NO_DEADLINE) {
        arm(deadline_us);
    } else {
        guard.deadline = timer_hw->timerawl + INT32_MAX; // a stale interrupt must not take the last call's for this one's
    }
    uint32_t start = systick_hw->cvr;
    int code = guard_enter(call);
    uint32_t end = systick_hw->cvr;
    guard.active = false;
    disarm();
    if (code != KERN_OK) {
        // A division that was left half way would be taken for an interrupted one and its result put back: reading the
        // quotient tells the divider that nobody waits for it.
        (void)sio_hw->div_quotient;
    }
    call->cycles = (start - end) & 0xffffff;
    call->pc = guard.pc;
    return code;
}

void guard_trap(int code, uint32_t pc) {
    guard.pc = pc;
    guard_leave(code);
}

// Make the interrupted kernel go on at guard_leave(code) when the exception returns.
static void divert(struct frame *frame, int code) {
    guard.pc = frame->pc;
    frame->pc = (uint32_t)guard_leave & ~1u;
    frame->r0 = (uint32_t)code;
}

void guard_alarm(uint32_t exc_return, struct frame *frame) {
    timer_hw->intr = 1u << ALARM;
    if (!guard.active) {
        return;
    }
    uint32_t now = timer_hw->timerawl;
    if ((int32_t)(now - guard.deadline) < 0) {
        timer_hw->alarm[ALARM] = guard.deadline; // a stale interrupt: the real one is still to come
    } else if (exc_return & EXC_RETURN_PSP) {
        divert(frame, KERN_EPOCH_DEADLINE);
    } else {
        timer_hw->alarm[ALARM] = now + RETRY_US; // just before or after the kernel's own part of the call
    }
}

// A kernel's fault ends the kernel; any other one stops, as the SDK's handler does.
void guard_fault(uint32_t exc_return, struct frame *frame) {
    if (!guard.active || !(exc_return & EXC_RETURN_PSP)) {
        for (;;) {
            __breakpoint();
        }
    }
    divert(frame, KERN_NATIVE_FAULT);
}
