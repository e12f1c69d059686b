#include "faults.h"

// Loops for ever without a call.
KERNEL_EXPORT(spin)(uint32_t descriptor) {
    struct fault_call call = fault_call(descriptor);
    while (call.arg) {
        __asm__ volatile ("");
    }
    return fault_copy(call);
}
