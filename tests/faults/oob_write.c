#include "faults.h"

// Writes at the offset `arg`.
KERNEL_EXPORT(oob_write)(uint32_t descriptor) {
    struct fault_call call = fault_call(descriptor);
    if (call.arg) {
        *(volatile int32_t *)kernel_pointer((uint32_t)call.arg) = 1;
    }
    return fault_copy(call);
}
