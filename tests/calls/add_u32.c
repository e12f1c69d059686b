#include "calls.h"
#include "add_u32_params.h"
#include "kernel_stateless.h"

KERNEL_EXPORT(add_u32)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    return calls_add(descriptor);
}
