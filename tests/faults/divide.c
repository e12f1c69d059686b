#include "faults.h"
#include "divide_params.h"
#include "kernel_stateless.h"

// 1: divides by zero; 2: divides INT32_MIN by -1.
KERNEL_EXPORT(divide)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    struct fault_call call = fault_call(descriptor);
    int32_t quotient;
    int32_t numerator = call.arg == 2 ? INT32_MIN : 1;
    int32_t divisor = call.arg == 2 ? -1 : call.arg == 1 ? 0 : 1;
    // By hand: in C both are undefined, and a compiler may drop them.
    __asm__ volatile ("local.get %1\n local.get %2\n i32.div_s\n local.set %0" : "=r" (quotient) : "r" (numerator), "r" (divisor));
    int32_t code = fault_copy(call);
    call.y[0] += quotient - 1;
    return code;
}
