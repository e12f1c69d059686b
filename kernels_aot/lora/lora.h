// Low-rank adaptation, for any format: y += scale * ((x A) B). Arithmetic is f32; x A is kept in f32.
//
// x is [rows, d_in], A [d_in, rank], B [rank, d_out], y [rows, d_out]; input B of the call is A, then B.
//
// Who includes this defines lora_params (the struct of the params block), the type element, and element_load and
// element_store, which give its value as f32 and round an f32 to it.

#ifndef LORA_H
#define LORA_H

#include "kernel_abi.h"
#include "kernel_math.h"
#include "lora_rows.h"

static inline uint32_t lora_size(uint32_t rows, uint32_t columns) {
    return kernel_product(kernel_product(rows, columns), sizeof(element));
}

static int32_t lora_check(const struct kernel_descriptor *call, uint32_t *b_at) {
    const lora_params *params = KERNEL_PARAMS(call, lora_params);
    if (params == NULL || (float_bits(params->scale) & 0x7fffffff) >= 0x7f800000) {
        return KERNEL_INVALID_PARAMS;
    }
    uint32_t a_size = lora_size(params->d_in, params->rank);
    uint32_t weights = kernel_region_of_two(a_size, lora_size(params->rank, params->d_out), b_at);
    if (!kernel_region_is(&call->input_a, lora_size(params->rows, params->d_in), sizeof(element))
        || !kernel_region_is(&call->input_b, weights, sizeof(element))) {
        return KERNEL_INVALID_INPUT;
    }
    if (!kernel_region_is(&call->output, lora_size(params->rows, params->d_out), sizeof(element))
        || !kernel_output_is_apart(call, false)) {
        return KERNEL_INVALID_OUTPUT;
    }
    return kernel_scratch_is(call, kernel_product(params->rank, 4), 4) ? KERNEL_OK : KERNEL_OUT_OF_MEMORY;
}

static int32_t lora_run(const struct kernel_descriptor *call) {
    uint32_t b_at;
    int32_t code = lora_check(call, &b_at);
    if (code != KERNEL_OK) {
        return code;
    }
    const lora_params *params = kernel_pointer(call->params.offset);
    const element *x = kernel_pointer(call->input_a.offset);
    const element *a = kernel_pointer(call->input_b.offset);
    const element *b = kernel_pointer(call->input_b.offset + b_at);
    element *y = kernel_pointer(call->output.offset);
    lora_run_rows(y, x, a, b, kernel_pointer(call->scratch.offset), params);
    return KERNEL_OK;
}

#endif
