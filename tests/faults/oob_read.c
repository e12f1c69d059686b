#include "faults.h"
#include "oob_read_params.h"
#include "kernel_stateless.h"

// Reads at the offset `arg`.
KERNEL_EXPORT(oob_read)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    struct fault_call call = fault_call(descriptor);
    if (call.arg) {
        call.y[0] = *(const volatile int32_t *)kernel_pointer((uint32_t)call.arg);
    }
    return fault_copy(call);
}
