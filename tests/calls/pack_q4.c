#include "calls.h"
#include "pack_q4_params.h"
#include "kernel_stateless.h"

KERNEL_EXPORT(pack_q4)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    return calls_repeat(descriptor);
}
