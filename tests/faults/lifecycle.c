#include "faults.h"
#include "lifecycle_params.h"

// Words in the first page of memory that a test reads and writes behind the runtime's back.
#define ORDER (65532)   // what kernel_init has to do
#define CLEANED (65528) // counts calls of kernel_cleanup

enum order { RETURN = 0x1417a001, TRAP, SPIN };

static int32_t given[3]; // to kernel_init: the size of its params, and the first two of them

KERNEL_EXPORT(kernel_init)(uint32_t params, uint32_t len) {
    const int32_t *param = kernel_pointer(params);
    switch (*(const volatile uint32_t *)kernel_pointer(ORDER)) {
        case RETURN:
            return 77;
        case TRAP:
            __builtin_trap();
        case SPIN:
            for (;;) {
                __asm__ volatile ("");
            }
    }
    given[0] = (int32_t)len;
    given[1] = param[0];
    given[2] = param[1];
    return KERNEL_OK;
}

KERNEL_EXPORT(kernel_info)(void) {
    static const struct kernel_info info = { sizeof(struct kernel_info), KERNEL_ABI_VERSION, KERNEL_NAME, KERNEL_VERSION };
    return (int32_t)(uintptr_t)&info;
}

__attribute__((export_name("kernel_cleanup"))) void kernel_cleanup(void) {
    *(volatile uint32_t *)kernel_pointer(CLEANED) += 1;
}

// Gives what kernel_init was given; `arg` 1 ends in a trap.
KERNEL_EXPORT(lifecycle)(uint32_t descriptor) {
    struct fault_call call = fault_call(descriptor);
    if (call.arg == 1) {
        __builtin_trap();
    }
    for (uint32_t i = 0; i < call.n; i++) {
        call.y[i] = given[i % 3];
    }
    return KERNEL_OK;
}
