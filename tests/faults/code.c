#include "faults.h"
#include "code_params.h"
#include "kernel_stateless.h"

// Returns `arg`.
KERNEL_EXPORT(code)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    struct fault_call call = fault_call(descriptor);
    return call.arg ? call.arg : fault_copy(call);
}
