#include "faults.h"
#include "unreach_params.h"
#include "kernel_stateless.h"

KERNEL_EXPORT(unreach)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    struct fault_call call = fault_call(descriptor);
    if (call.arg) {
        __builtin_trap();
    }
    return fault_copy(call);
}
