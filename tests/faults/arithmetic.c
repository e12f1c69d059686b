#include "faults.h"
#include "arithmetic_params.h"
#include "kernel_stateless.h"

// Works with every float operator and with divisions, which are functions of the runtime: `arg` rounds over the elements, for ever when it is negative.
KERNEL_EXPORT(arithmetic)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    struct fault_call call = fault_call(descriptor);
    int32_t code = fault_copy(call);
    float f = 1.0f;
    for (int32_t round = 0; round != call.arg; round++) {
        for (uint32_t i = 0; i < call.n; i++) {
            int32_t y = call.y[i] / ((int32_t)i + 3) + call.y[i] % 7;
            int64_t wide = (int64_t)y * 1000003 / ((call.y[i] & 255) + 1);
            f = __builtin_sqrtf(f * 1.7f + (float)(y & 1023)) / 0.3f - 0.5f;
            call.y[i] = (int32_t)f + (int32_t)wide + call.x[i] * 1021;
        }
    }
    return code;
}
