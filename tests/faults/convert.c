#include "faults.h"
#include "convert_params.h"
#include "kernel_stateless.h"

// 1: converts a NaN to an integer; 2: a float that no integer holds.
KERNEL_EXPORT(convert)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    struct fault_call call = fault_call(descriptor);
    int32_t converted;
    float value = call.arg == 2 ? 1e30f : call.arg == 1 ? __builtin_nanf("") : 0.0f;
    __asm__ volatile ("local.get %1\n i32.trunc_f32_s\n local.set %0" : "=r" (converted) : "r" (value));
    int32_t code = fault_copy(call);
    call.y[0] += converted;
    return code;
}
