// What the guards of all ports have in common.
#include "guard.h"

_Static_assert(GUARD_RETURNED == KERN_KERNEL_TRAP, "guard_codes.h");

int guard_run_one(struct guard_call *call, struct guard_end *end) {
    const struct guard_call *calls = call;
    call->ticket = guard_ticket();
    return guard_run(&calls, 1, call->kind, end);
}

int guard_run_trusted(int (*function)(void *argument), void *argument) {
    struct guard_call call = { .deadline_us = INT32_MAX, .arg = { (uintptr_t)argument }, .entry = function };
    struct guard_end end;
    int error = guard_run_one(&call, &end);
    return error == KERN_KERNEL_TRAP ? end.returned : error;
}
