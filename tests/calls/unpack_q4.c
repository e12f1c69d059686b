#include "calls.h"
#include "unpack_q4_params.h"
#include "kernel_stateless.h"

KERNEL_EXPORT(unpack_q4)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    return calls_repeat(descriptor);
}
