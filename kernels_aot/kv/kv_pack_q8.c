// Pack rows of f32 into blocks of Q8_0: what is refused is in kv.h, the format in kernel_blocks.h.

#include "kernel_abi.h"
#include "kv_pack_q8_params.h"
#include "kernel_stateless.h"

typedef struct kv_pack_q8_params kv_params;
#define kv_row_size q8_row_size
#include "kv.h"

KERNEL_EXPORT(kv_pack_forward)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    const struct kernel_descriptor *call = kernel_descriptor_at(descriptor);
    int32_t code = kv_check(call, true);
    if (code == KERNEL_OK) {
        // Rows are whole blocks, so all of them together are one long row.
        q8_store_row(
            kernel_pointer(call->output.offset), kernel_pointer(call->input_a.offset), call->input_a.size / sizeof(float));
    }
    return code;
}
