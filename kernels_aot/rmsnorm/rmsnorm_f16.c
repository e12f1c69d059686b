// Root mean square normalisation, f16: rmsnorm.h. Arithmetic is f32, rounded to f16 once.

#include "kernel_abi.h"
#include "rmsnorm_f16_params.h"
#include "kernel_stateless.h"

typedef struct rmsnorm_f16_params rmsnorm_params;
#define RMSNORM_ELEMENT 2
#include "kernel_rows.h"
#include "rmsnorm.h"

KERNEL_EXPORT(rmsnorm_forward)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    const struct kernel_descriptor *call = kernel_descriptor_at(descriptor);
    int32_t code = rmsnorm_check(call, 2 * sizeof(float));
    if (code != KERNEL_OK) {
        return code;
    }
    const rmsnorm_params *params = kernel_pointer(call->params.offset);
    const uint16_t *x = kernel_pointer(call->input_a.offset);
    uint16_t *y = kernel_pointer(call->output.offset);
    uint32_t dim = params->dim;
    float *weight = kernel_pointer(call->scratch.offset);
    float *floats = weight + dim;
    f16_load_row(weight, kernel_pointer(call->input_b.offset), dim);
    for (uint32_t row = 0; row < params->rows; row++, x += dim, y += dim) {
        f16_load_row(floats, x, dim);
        scale_row(floats, floats, rmsnorm_scale(floats, params), weight, dim);
        f16_store_row(y, floats, dim);
    }
    return KERNEL_OK;
}
