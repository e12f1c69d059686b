// Root mean square normalisation, f32, and its gradients: rmsnorm.h.

#include "kernel_abi.h"
#include "rmsnorm_f32_params.h"
#include "kernel_stateless.h"

typedef struct rmsnorm_f32_params rmsnorm_params;
#define RMSNORM_ELEMENT 4
#include "rmsnorm.h"

KERNEL_EXPORT(rmsnorm_forward)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    const struct kernel_descriptor *call = kernel_descriptor_at(descriptor);
    int32_t code = rmsnorm_check(call, 0);
    if (code != KERNEL_OK) {
        return code;
    }
    const rmsnorm_params *params = kernel_pointer(call->params.offset);
    const float *x = kernel_pointer(call->input_a.offset);
    const float *weight = kernel_pointer(call->input_b.offset);
    float *y = kernel_pointer(call->output.offset);
    for (uint32_t row = 0; row < params->rows; row++, x += params->dim, y += params->dim) {
        scale_row(y, x, rmsnorm_scale(x, params), weight, params->dim);
    }
    return KERNEL_OK;
}

// ---- gradients: input A is x, dy; input B is weight; the output is dx, dweight ----

struct gradients {
    const rmsnorm_params *params;
    const float *x, *dy, *weight;
    float *dx, *dweight;
};

static int32_t check_gradients(struct gradients *g, const struct kernel_descriptor *call) {
    const rmsnorm_params *params = KERNEL_PARAMS(call, rmsnorm_params);
    if (!rmsnorm_params_are_valid(params)) {
        return KERNEL_INVALID_PARAMS;
    }
    uint32_t size = rmsnorm_size(params);
    uint32_t dy_at, dweight_at;
    if (!kernel_region_is(&call->input_a, kernel_region_of_two(size, size, &dy_at), 4)
        || !rmsnorm_weight_is(&call->input_b, params)) {
        return KERNEL_INVALID_INPUT;
    }
    uint32_t output = kernel_region_of_two(size, kernel_product(params->dim, 4), &dweight_at);
    if (!kernel_region_is(&call->output, output, 4) || !kernel_output_is_apart(call, false)) {
        return KERNEL_INVALID_OUTPUT;
    }
    *g = (struct gradients){
        .params = params,
        .x = kernel_pointer(call->input_a.offset),
        .dy = kernel_pointer(call->input_a.offset + dy_at),
        .weight = kernel_pointer(call->input_b.offset),
        .dx = kernel_pointer(call->output.offset),
        .dweight = kernel_pointer(call->output.offset + dweight_at),
    };
    return KERNEL_OK;
}

// dx = s w dy - x s^3 / dim sum(x w dy) and dweight += x s dy, for the row that begins at element `at`.
static void row_gradients(const struct gradients *g, uint32_t at) {
    const float *x = g->x + at;
    const float *dy = g->dy + at;
    uint32_t dim = g->params->dim;
    float scale = rmsnorm_scale(x, g->params);
    float sum[REDUCE_LANES] = {0};
    for (uint32_t j = 0; j < dim; j++) {
        sum[j % REDUCE_LANES] += x[j] * g->weight[j] * dy[j];
    }
    float pull = scale * scale * scale / (float)dim * reduce_lanes(sum);
    for (uint32_t j = 0; j < dim; j++) {
        g->dx[at + j] = scale * g->weight[j] * dy[j] - x[j] * pull;
        g->dweight[j] += x[j] * scale * dy[j];
    }
}

KERNEL_BACKWARD(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    struct gradients g;
    int32_t code = check_gradients(&g, kernel_descriptor_at(descriptor));
    if (code != KERNEL_OK) {
        return code;
    }
    for (uint32_t j = 0; j < g.params->dim; j++) {
        g.dweight[j] = 0.0f;
    }
    for (uint32_t row = 0; row < g.params->rows; row++) {
        row_gradients(&g, row * g.params->dim);
    }
    return KERNEL_OK;
}
