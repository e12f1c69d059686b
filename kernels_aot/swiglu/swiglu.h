// SwiGLU, for any format: y = silu(gate) * up, silu being rounded to f32 before the product. y may be gate itself.
//
// Who includes this defines swiglu_params (the struct of the params block) and SWIGLU_ELEMENT (bytes of one).

#ifndef SWIGLU_H
#define SWIGLU_H

#include "kernel_abi.h"

static int32_t swiglu_check(const struct kernel_descriptor *call) {
    const swiglu_params *params = KERNEL_PARAMS(call, swiglu_params);
    if (params == NULL) {
        return KERNEL_INVALID_PARAMS;
    }
    uint32_t size = kernel_product(params->n, SWIGLU_ELEMENT);
    if (!kernel_region_is(&call->input_a, size, SWIGLU_ELEMENT)
        || !kernel_region_is(&call->input_b, size, SWIGLU_ELEMENT)) {
        return KERNEL_INVALID_INPUT;
    }
    return kernel_region_is(&call->output, size, SWIGLU_ELEMENT) && kernel_output_is_apart(call, true)
               ? KERNEL_OK
               : KERNEL_INVALID_OUTPUT;
}

#endif
