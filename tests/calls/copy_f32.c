#include "calls.h"
#include "copy_f32_params.h"
#include "kernel_stateless.h"

KERNEL_EXPORT(copy_f32)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    return calls_repeat(descriptor);
}
