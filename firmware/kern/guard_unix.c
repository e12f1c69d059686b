// Guard of a Linux process on x86-64: signals are what interrupts and faults are on a board. `cycles` are nanoseconds of processor time
// and wrap at 2^32.
//
// The deadline counts processor time too, so that a busy computer ends no call early. The timer runs by the clock on the wall, which
// is the finer one. It is not set for every call: while calls are made it goes off every tick, or when the deadline can come at the
// earliest; it then sees which call is under way and what that has used. Without calls it stops by itself.
#define _GNU_SOURCE // REG_RIP
#include "guard.h"

#include <signal.h>
#include <stddef.h>
#include <time.h>
#include <ucontext.h>

#include "guard_unix.h"
#include "kern_board.h"

#define TICK_NS (GUARD_TICK_US * INT64_C(1000))
#define RETRY_NS (50000)
#define ALARM (SIGRTMIN)
#define STACK_TOP (KERN_STACK_ADDRESS + KERN_STACK_SIZE)

static volatile struct {
    bool active;   // guard_run is under way
    bool ticking;  // the timer is set
    uint32_t ticket;
    int64_t deadline; // of the call under way, in processor time
    int code;      // what a call was ended with, KERN_OK while it was not
    uintptr_t pc, address; // see struct guard_end
} state = { .address = GUARD_NO_ADDRESS };

static timer_t timer;

int32_t guard_enter(const struct guard_call *call, void *stack);
_Noreturn void guard_leave(void);

_Static_assert(offsetof(struct guard_call, arg) == 16 && offsetof(struct guard_call, entry) == 40, "guard_x86_64.S");

static int64_t used_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void arm(int64_t ns) {
    struct itimerspec in = { .it_value.tv_nsec = ns };
    timer_settime(timer, 0, &in, NULL);
}

// ---- signals ----

static bool inside_kernel(const ucontext_t *context) {
    uintptr_t sp = context->uc_mcontext.gregs[REG_RSP];
    return state.active && sp - (KERN_STACK_ADDRESS - GUARD_PAGE) < GUARD_PAGE + KERN_STACK_SIZE;
}

// Make the interrupted kernel go on at guard_leave when the signal's handler returns.
static void divert(ucontext_t *context, int code) {
    state.code = code;
    state.pc = context->uc_mcontext.gregs[REG_RIP];
    context->uc_mcontext.gregs[REG_RIP] = (greg_t)guard_leave;
}

static void on_alarm(int number, siginfo_t *info, void *context) {
    (void)number, (void)info;
    if (!state.active) {
        state.ticking = false;
        return;
    }
    int64_t wait = RETRY_NS; // between calls, or just before or after them
    if (inside_kernel(context)) {
        int64_t left = state.deadline - used_ns();
        wait = left > TICK_NS ? TICK_NS : left > RETRY_NS ? left : RETRY_NS;
        if (left <= 0) {
            divert(context, KERN_EPOCH_DEADLINE);
        }
    }
    arm(wait);
}

// A kernel's fault ends the kernel; any other one the process, when the instruction is tried again.
static void on_fault(int number, siginfo_t *info, void *context) {
    if (!inside_kernel(context)) {
        signal(number, SIG_DFL);
        return;
    }
    if ((number == SIGSEGV || number == SIGBUS) && info->si_code != SI_KERNEL) {
        state.address = (uintptr_t)info->si_addr;
    }
    divert(context, KERN_NATIVE_FAULT);
}

void guard_init(void) {
    static uint8_t stack[64 * 1024];
    const stack_t signal_stack = { .ss_sp = stack, .ss_size = sizeof(stack) };
    const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL };
    struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = ALARM };
    sigaltstack(&signal_stack, NULL);
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        sigaction(faults[i], &action, NULL);
    }
    action.sa_sigaction = on_alarm;
    sigaction(ALARM, &action, NULL);
    timer_create(CLOCK_MONOTONIC, &event, &timer);
}

// ---- calls ----

bool guard_busy(void) {
    return false; // no signal's handler runs Python, and there is one thread
}

bool guard_inside(void) {
    return state.active;
}

void guard_set_ticket(uint32_t ticket) {
    state.ticket = ticket;
}

uint32_t guard_ticket(void) {
    return state.ticket;
}

// Make one call; returns how it ended.
static int make(const struct guard_call *call, int64_t began, int32_t *returned) {
    state.deadline = began + call->deadline_us * INT64_C(1000);
    state.code = KERN_OK;
    *returned = guard_enter(call, (void *)STACK_TOP);
    if (state.code != KERN_OK) {
        *returned = 0;
        return state.code;
    }
    return *returned != 0 ? KERN_KERNEL_TRAP : KERN_OK;
}

static bool is_ready(const struct guard_call *call, const void *kind) {
    return ((uintptr_t)call & 3) == 0 && call->kind == kind && call->ticket == state.ticket;
}

int guard_run(const struct guard_call *const *calls, uint32_t count, const void *kind, struct guard_end *end) {
    int64_t first = used_ns(), began = first, now = first;
    int code = KERN_OK;
    int32_t returned = 0;
    uint32_t done = 0;
    state.active = true;
    if (!state.ticking) {
        state.ticking = true;
        arm(TICK_NS);
    }
    while (code == KERN_OK && done < count) {
        began = now;
        code = is_ready(calls[done], kind) ? make(calls[done], began, &returned) : GUARD_NOT_READY;
        done += code == KERN_OK;
        now = used_ns();
    }
    state.active = false;
    *end = (struct guard_end) {
        .done = done,
        .cycles = now - (code == KERN_OK || code == GUARD_NOT_READY ? first : began),
        .returned = returned,
        .pc = state.pc,
        .address = state.address,
    };
    state.pc = 0;
    state.address = GUARD_NO_ADDRESS;
    return code;
}

void guard_trap(int code, uintptr_t return_address) {
    state.pc = return_address != 0 ? return_address - 1 : 0; // in the instruction that called
    state.code = code;
    guard_leave();
}
