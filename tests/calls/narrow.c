#include "calls.h"
#include "narrow_params.h"
#include "kernel_stateless.h"

KERNEL_EXPORT(narrow)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    return calls_repeat(descriptor);
}
