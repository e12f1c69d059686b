// Root mean square normalisation, for any format of a row.
//
// x and y are [rows, dim], weight is [dim]: y = x * (1 / sqrt(mean(x^2) + eps)) * weight, from left to right.
// The sum is in the order of rmsnorm_lanes.h. y may be x itself.
//
// Who includes this defines rmsnorm_params (the struct of the params block) and RMSNORM_ELEMENT (bytes of one).

#ifndef RMSNORM_H
#define RMSNORM_H

#include "kernel_abi.h"
#include "kernel_math.h"
#include "rmsnorm_row.h"

// Bits of a finite number that is not negative, and so is eps.
static inline bool rmsnorm_params_are_valid(const rmsnorm_params *params) {
    return params != NULL && float_bits(params->eps) < 0x7f800000;
}

// Bytes of x.
static inline uint32_t rmsnorm_size(const rmsnorm_params *params) {
    return kernel_product(kernel_product(params->rows, params->dim), RMSNORM_ELEMENT);
}

static inline bool rmsnorm_weight_is(const struct kernel_region *weight, const rmsnorm_params *params) {
    return kernel_region_is(weight, kernel_product(params->dim, RMSNORM_ELEMENT), RMSNORM_ELEMENT);
}

// `scratch` is the bytes of it that each element of a row needs.
static int32_t rmsnorm_check(const struct kernel_descriptor *call, uint32_t scratch) {
    const rmsnorm_params *params = KERNEL_PARAMS(call, rmsnorm_params);
    if (!rmsnorm_params_are_valid(params)) {
        return KERNEL_INVALID_PARAMS;
    }
    uint32_t size = rmsnorm_size(params);
    if (!kernel_region_is(&call->input_a, size, RMSNORM_ELEMENT) || !rmsnorm_weight_is(&call->input_b, params)) {
        return KERNEL_INVALID_INPUT;
    }
    if (!kernel_region_is(&call->output, size, RMSNORM_ELEMENT) || !kernel_output_is_apart(call, true)) {
        return KERNEL_INVALID_OUTPUT;
    }
    return scratch == 0 || kernel_scratch_is(call, kernel_product(params->dim, scratch), 4) ? KERNEL_OK
                                                                                            : KERNEL_OUT_OF_MEMORY;
}

// What a row's elements are multiplied by.
static inline float rmsnorm_scale(const float *x, const rmsnorm_params *params) {
    float mean = sum_of_squares(x, params->dim) / (float)params->dim;
    return 1.0f / __builtin_sqrtf(mean + params->eps);
}

#endif
