// SwiGLU, f32, and its gradients: swiglu.h.

#include "kernel_abi.h"
#include "swiglu_f32_params.h"
#include "kernel_stateless.h"

typedef struct swiglu_f32_params swiglu_params;
#define SWIGLU_ELEMENT 4
#include "swiglu.h"
#include "swiglu_row.h"

KERNEL_EXPORT(swiglu_forward)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    const struct kernel_descriptor *call = kernel_descriptor_at(descriptor);
    int32_t code = swiglu_check(call);
    if (code != KERNEL_OK) {
        return code;
    }
    const swiglu_params *params = kernel_pointer(call->params.offset);
    swiglu_row(
        kernel_pointer(call->output.offset), kernel_pointer(call->input_a.offset), kernel_pointer(call->input_b.offset),
        params->n);
    return KERNEL_OK;
}

// ---- gradients: input A is gate, dy; input B is up; the output is dgate, dup ----

// silu'(g) = s + g s (1 - s), s = 1 / (1 + exp(-g)). Computed from exp(-|g|), which cannot overflow.
static float silu_slope(float g) {
    float e = exp_minus(float_bits(g) & 0x7fffffff, 0);
    float larger = 1.0f / (1.0f + e);
    float smaller = e * larger;
    float s = float_bits(g) >> 31 ? smaller : larger;
    return s + g * (larger * smaller);
}

KERNEL_BACKWARD(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    const struct kernel_descriptor *call = kernel_descriptor_at(descriptor);
    const swiglu_params *params = KERNEL_PARAMS(call, swiglu_params);
    if (params == NULL) {
        return KERNEL_INVALID_PARAMS;
    }
    uint32_t size = kernel_product(params->n, 4);
    uint32_t second_at;
    uint32_t both = kernel_region_of_two(size, size, &second_at);
    if (!kernel_region_is(&call->input_a, both, 4) || !kernel_region_is(&call->input_b, size, 4)) {
        return KERNEL_INVALID_INPUT;
    }
    if (!kernel_region_is(&call->output, both, 4) || !kernel_output_is_apart(call, false)) {
        return KERNEL_INVALID_OUTPUT;
    }
    const float *gate = kernel_pointer(call->input_a.offset);
    const float *dy = kernel_pointer(call->input_a.offset + second_at);
    const float *up = kernel_pointer(call->input_b.offset);
    float *dgate = kernel_pointer(call->output.offset);
    float *dup = kernel_pointer(call->output.offset + second_at);
    for (uint32_t i = 0; i < params->n; i++) {
        dgate[i] = dy[i] * up[i] * silu_slope(gate[i]);
        dup[i] = dy[i] * silu(gate[i]);
    }
    return KERNEL_OK;
}
