#include "faults.h"
#include "bulk_params.h"
#include "kernel_stateless.h"

// Fills the output and copies the input to it, both by bulk memory instructions: `arg` times, for ever when it is negative.
KERNEL_EXPORT(bulk)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    struct fault_call call = fault_call(descriptor);
    for (int32_t round = 0; round != call.arg; round++) {
        __builtin_memset(call.y, round, call.n * sizeof(*call.y));
        __asm__ volatile ("" ::: "memory");
        __builtin_memmove(call.y, call.x, call.n * sizeof(*call.y));
        __asm__ volatile ("" ::: "memory");
    }
    return fault_copy(call);
}
