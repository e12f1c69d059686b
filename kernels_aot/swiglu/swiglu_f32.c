// SwiGLU, f32: y = silu(gate) * up, where silu(g) = g / (1 + exp(-g)). y may be gate itself.
//
// silu is rounded to f32 before the product. Its special values are those of the formula: silu(+inf) is +inf,
// silu(-inf) is NaN (-inf / inf), silu(+-0) is +-0, and far below 0 it goes to -0.

#include "kernel_abi.h"
#include "kernel_math.h"
#include "swiglu_f32_params.h"
#include "kernel_stateless.h"

static inline float silu(float g) {
    uint32_t bits = float_bits(g);
    float magnitude = float_from_bits(bits & 0x7fffffff);
    if (bits > 0xc2000000) {
        // Below -32 (and NaN) 1 + exp(-g) is exp(-g). Times 2^64, so that no step before the last is a denormal.
        return g * exp_minus(magnitude, 64) * 0x1p-64f;
    }
    // exp(-g) itself could overflow; exp(-|g|) cannot.
    float e = exp_minus(magnitude, 0);
    return (bits >> 31 ? g * e : g) / (1.0f + e);
}

KERNEL_EXPORT(swiglu_forward)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    const struct kernel_descriptor *call = kernel_descriptor_at(descriptor);
    const struct swiglu_f32_params *params = KERNEL_PARAMS(call, struct swiglu_f32_params);
    if (params == NULL) {
        return KERNEL_INVALID_PARAMS;
    }
    uint32_t size = kernel_product(params->n, 4);
    if (!kernel_region_is(&call->input_a, size, 4) || !kernel_region_is(&call->input_b, size, 4)) {
        return KERNEL_INVALID_INPUT;
    }
    if (!kernel_region_is(&call->output, size, 4) || !kernel_output_is_apart(call, true)) {
        return KERNEL_INVALID_OUTPUT;
    }
    const float *gate = kernel_pointer(call->input_a.offset);
    const float *up = kernel_pointer(call->input_b.offset);
    float *y = kernel_pointer(call->output.offset);
    for (uint32_t i = 0; i < params->n; i++) {
        y[i] = silu(gate[i]) * up[i];
    }
    return KERNEL_OK;
}
