#include "faults.h"
#include "recurse_params.h"
#include "kernel_stateless.h"

static __attribute__((noinline)) uint32_t deeper(uint32_t depth) {
    return depth ? (deeper(depth - 1) ^ depth) * 3 : 1;
}

// Recurses `arg` deep: a few are fine, a hundred thousand are not.
KERNEL_EXPORT(recurse)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    struct fault_call call = fault_call(descriptor);
    int32_t code = fault_copy(call);
    if (call.arg) {
        call.y[0] = (int32_t)deeper((uint32_t)call.arg);
    }
    return code;
}
