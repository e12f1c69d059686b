#include "faults.h"
#include "spin_params.h"
#include "kernel_stateless.h"

// Loops for ever without a call.
KERNEL_EXPORT(spin)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    struct fault_call call = fault_call(descriptor);
    while (call.arg) {
        __asm__ volatile ("");
    }
    return fault_copy(call);
}
