#include "faults.h"
#include "oob_write_params.h"
#include "kernel_stateless.h"

// Writes at the offset `arg`.
KERNEL_EXPORT(oob_write)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    struct fault_call call = fault_call(descriptor);
    if (call.arg) {
        *(volatile int32_t *)kernel_pointer((uint32_t)call.arg) = 1;
    }
    return fault_copy(call);
}
