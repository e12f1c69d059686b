#include "faults.h"
#include "counter_params.h"
#include "kernel_stateless.h"

static uint32_t calls;
static uint32_t stamp = 7;

// Gives how often it was called since it was made, and a constant from its data; `arg` 1 then ends in a trap.
KERNEL_EXPORT(counter)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    struct fault_call call = fault_call(descriptor);
    calls += 1;
    stamp = stamp * 3 / 3;
    if (call.arg) {
        __builtin_trap();
    }
    call.y[0] = (int32_t)calls;
    for (uint32_t i = 1; i < call.n; i++) {
        call.y[i] = (int32_t)stamp;
    }
    return KERNEL_OK;
}
