#include "faults.h"

KERNEL_EXPORT(unreach)(uint32_t descriptor) {
    struct fault_call call = fault_call(descriptor);
    if (call.arg) {
        __builtin_trap();
    }
    return fault_copy(call);
}
