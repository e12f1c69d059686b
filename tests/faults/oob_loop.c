#include "faults.h"
#include "oob_loop_params.h"
#include "kernel_stateless.h"

// Writes `arg` to 4 n words from the offset `arg` on, in order: a loop whose bounds checks wamrc can make before it.
KERNEL_EXPORT(oob_loop)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    struct fault_call call = fault_call(descriptor);
    volatile int32_t *words = kernel_pointer((uint32_t)call.arg);
    for (uint32_t i = 0; call.arg && i < 4 * call.n; i++) {
        words[i] = call.arg;
    }
    return fault_copy(call);
}
