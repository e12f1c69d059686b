// Bulk memory: fills and copies, forward and backward over themselves.
#include "kernel_abi.h"
#include "bulk_params.h"
#include "kernel_stateless.h"

#define FILL(to, value, size) __asm__ volatile ("local.get %0\n local.get %1\n local.get %2\n memory.fill 0" :: "r" (to), "r" (value), "r" (size) : "memory")
#define COPY(to, from, size) __asm__ volatile ("local.get %0\n local.get %1\n local.get %2\n memory.copy 0, 0" :: "r" (to), "r" (from), "r" (size) : "memory")

KERNEL_EXPORT(bulk)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    const struct kernel_descriptor *call = kernel_descriptor_at(descriptor);
    const struct bulk_params *params = KERNEL_PARAMS(call, struct bulk_params);
    uint32_t x = call->input_a.offset, y = call->output.offset, n = params->n;
    FILL(y, 0xa5, n);
    COPY(y + 1, x, n - 2);
    COPY(y + n / 4, y, n / 2);
    COPY(y, y + 3, n / 2);
    if (params->beyond) {
        COPY(y, params->beyond, n);
    }
    return KERNEL_OK;
}
