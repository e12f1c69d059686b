#include "kernel_abi.h"
#include "failing_params.h"
#include "kernel_stateless.h"
#include "failing.h"

KERNEL_EXPORT(failing)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    return failing_call(descriptor);
}
