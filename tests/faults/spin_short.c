#include "faults.h"
#include "spin_short_params.h"
#include "kernel_stateless.h"

// Loops for ever, with a budget of one tick in its manifest.
KERNEL_EXPORT(spin_short)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    struct fault_call call = fault_call(descriptor);
    while (call.arg) {
        __asm__ volatile ("");
    }
    return fault_copy(call);
}
