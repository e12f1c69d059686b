#include "faults.h"

// Reads at the offset `arg`.
KERNEL_EXPORT(oob_read)(uint32_t descriptor) {
    struct fault_call call = fault_call(descriptor);
    if (call.arg) {
        call.y[0] = *(const volatile int32_t *)kernel_pointer((uint32_t)call.arg);
    }
    return fault_copy(call);
}
