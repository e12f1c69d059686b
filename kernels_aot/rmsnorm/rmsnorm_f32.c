// Root mean square normalisation, f32.
//
// x and y are [rows, dim], weight is [dim]: y = x * (1 / sqrt(mean(x^2) + eps)) * weight, from left to right.
// The sum is in the order of kernel_reduce.h. y may be x itself.

#include "kernel_abi.h"
#include "kernel_math.h"
#include "kernel_reduce.h"
#include "rmsnorm_f32_params.h"
#include "kernel_stateless.h"

static int32_t check(const struct kernel_descriptor *call) {
    const struct rmsnorm_f32_params *params = KERNEL_PARAMS(call, struct rmsnorm_f32_params);
    // Bits of a finite number that is not negative.
    if (params == NULL || float_bits(params->eps) >= 0x7f800000) {
        return KERNEL_INVALID_PARAMS;
    }
    uint32_t size = kernel_product(kernel_product(params->rows, params->dim), 4);
    if (!kernel_region_is(&call->input_a, size, 4)
        || !kernel_region_is(&call->input_b, kernel_product(params->dim, 4), 4)) {
        return KERNEL_INVALID_INPUT;
    }
    if (!kernel_region_is(&call->output, size, 4) || !kernel_output_is_apart(call, true)) {
        return KERNEL_INVALID_OUTPUT;
    }
    return KERNEL_OK;
}

KERNEL_EXPORT(rmsnorm_forward)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    const struct kernel_descriptor *call = kernel_descriptor_at(descriptor);
    int32_t code = check(call);
    if (code != KERNEL_OK) {
        return code;
    }
    const struct rmsnorm_f32_params *params = kernel_pointer(call->params.offset);
    const float *x = kernel_pointer(call->input_a.offset);
    const float *weight = kernel_pointer(call->input_b.offset);
    float *y = kernel_pointer(call->output.offset);
    uint32_t dim = params->dim;
    for (uint32_t row = 0; row < params->rows; row++, x += dim, y += dim) {
        float mean = sum_of_squares(x, dim) / (float)dim;
        float scale = 1.0f / __builtin_sqrtf(mean + params->eps);
        for (uint32_t j = 0; j < dim; j++) {
            y[j] = x[j] * scale * weight[j];
        }
    }
    return KERNEL_OK;
}
