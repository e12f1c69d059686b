#include "calls.h"
#include "unpack_q8_params.h"
#include "kernel_stateless.h"

KERNEL_EXPORT(unpack_q8)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    return calls_repeat(descriptor);
}
