#include "faults.h"

// Returns `arg`.
KERNEL_EXPORT(code)(uint32_t descriptor) {
    struct fault_call call = fault_call(descriptor);
    return call.arg ? call.arg : fault_copy(call);
}
