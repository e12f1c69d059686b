#include "faults.h"
#include "misaligned_params.h"
#include "kernel_stateless.h"

enum access { LOAD, STORE, LOAD_HALF, LOAD_SIGNED_HALF, STORE_HALF, LOAD_WIDE };

// Accesses the offset `arg`, in the way that `how` says.
KERNEL_EXPORT(misaligned)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    struct fault_call call = fault_call(descriptor);
    int32_t how = ((const int32_t *)kernel_pointer(kernel_descriptor_at(descriptor)->params.offset))[2];
    volatile int32_t *at = kernel_pointer((uint32_t)call.arg);
    int32_t code = fault_copy(call);
    switch (call.arg ? how : -1) {
        case LOAD:
            call.y[0] = at[0];
            break;
        case STORE:
            at[0] = 1;
            break;
        case LOAD_HALF:
            call.y[0] = *(volatile uint16_t *)at;
            break;
        case LOAD_SIGNED_HALF:
            call.y[0] = *(volatile int16_t *)at;
            break;
        case STORE_HALF:
            *(volatile uint16_t *)at = 1;
            break;
        case LOAD_WIDE:
            call.y[0] = (int32_t)(*(volatile int64_t *)at >> 1);
            break;
    }
    return code;
}
