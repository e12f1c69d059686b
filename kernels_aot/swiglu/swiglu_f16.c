// SwiGLU, f16: swiglu.h. Arithmetic is f32, rounded to f16 once.

#include "kernel_abi.h"
#include "swiglu_f16_params.h"
#include "kernel_stateless.h"

typedef struct swiglu_f16_params swiglu_params;
#define SWIGLU_ELEMENT 2
#include "kernel_rows.h"
#include "swiglu.h"
#include "swiglu_row.h"

#define CHUNK 64 // elements at a time: two rows of f32 on the stack

KERNEL_EXPORT(swiglu_forward)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    const struct kernel_descriptor *call = kernel_descriptor_at(descriptor);
    int32_t code = swiglu_check(call);
    if (code != KERNEL_OK) {
        return code;
    }
    const swiglu_params *params = kernel_pointer(call->params.offset);
    const uint16_t *gate = kernel_pointer(call->input_a.offset);
    const uint16_t *up = kernel_pointer(call->input_b.offset);
    uint16_t *y = kernel_pointer(call->output.offset);
    for (uint32_t i = 0; i < params->n; i += CHUNK) {
        float gates[CHUNK];
        float ups[CHUNK];
        uint32_t count = params->n - i < CHUNK ? params->n - i : CHUNK;
        f16_load_row(gates, gate + i, count);
        f16_load_row(ups, up + i, count);
        swiglu_row(gates, gates, ups, count);
        f16_store_row(y + i, gates, count);
    }
    return KERNEL_OK;
}
