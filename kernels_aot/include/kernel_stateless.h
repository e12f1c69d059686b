// kernel_init, kernel_info and kernel_cleanup of a kernel that keeps nothing between calls. Include it after the kernel's
// params header, which says who it is.
//
// All that is kept is whether the kernel was initialised: an entry point begins with KERNEL_REQUIRE_INIT, which returns
// INTERNAL_ERROR before kernel_init and after kernel_cleanup. References in firmware have no lifecycle.

#ifndef KERNEL_STATELESS_H
#define KERNEL_STATELESS_H

#include "kernel_abi.h"

#ifdef KERNEL_NATIVE

#define KERNEL_REQUIRE_INIT()

#else

static bool kernel_initialised;

#define KERNEL_REQUIRE_INIT() \
    if (!kernel_initialised) { \
        return KERNEL_INTERNAL_ERROR; \
    }

// `params` has the default of every parameter, one word each.
KERNEL_EXPORT(kernel_init)(uint32_t params, uint32_t len) {
    (void)params;
    if (len != 4 * KERNEL_PARAM_COUNT) {
        return KERNEL_INVALID_PARAMS;
    }
    kernel_initialised = true;
    return KERNEL_OK;
}

KERNEL_EXPORT(kernel_info)(void) {
    static const struct kernel_info info = {
        sizeof(struct kernel_info), KERNEL_ABI_VERSION, KERNEL_NAME, KERNEL_VERSION,
    };
    return (int32_t)(uintptr_t)&info;
}

__attribute__((export_name("kernel_cleanup"))) void kernel_cleanup(void) {
    kernel_initialised = false;
}

#endif

#endif
