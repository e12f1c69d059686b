// y = x, but not below low nor above high, f32. A NaN stays one. y may be x itself.

#include "kernel_abi.h"
#include "clip_f32_params.h" // made from pack.toml: n, low, high
#include "kernel_stateless.h"

KERNEL_EXPORT(clip_forward)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    const struct kernel_descriptor *call = kernel_descriptor_at(descriptor);
    const struct clip_f32_params *params = KERNEL_PARAMS(call, struct clip_f32_params);
    if (params == NULL || !(params->low <= params->high)) {
        return KERNEL_INVALID_PARAMS;
    }
    uint32_t size = kernel_product(params->n, sizeof(float));
    if (!kernel_region_is(&call->input_a, size, sizeof(float))) {
        return KERNEL_INVALID_INPUT;
    }
    if (!kernel_region_is(&call->output, size, sizeof(float)) || !kernel_output_is_apart(call, true)) {
        return KERNEL_INVALID_OUTPUT;
    }
    const float *x = kernel_pointer(call->input_a.offset);
    float *y = kernel_pointer(call->output.offset);
    for (uint32_t i = 0; i < params->n; i++) {
        float value = x[i] < params->low ? params->low : x[i];
        y[i] = value > params->high ? params->high : value;
    }
    return KERNEL_OK;
}
