// Rotary position embedding, f32.
//
// x and y are [batch, seq, heads, dim]. Pair i of a row, elements (2i, 2i + 1) when interleaved and (i, i + dim/2)
// otherwise, is turned by an angle of its own that depends on the position s in the sequence:
//
//     y_a = x_a * cos - x_b * sin
//     y_b = x_a * sin + x_b * cos
//
// freqs gives the angles in radians, [seq, dim/2], or their cosines and sines, [seq, dim/2, 2]; without it they are
// (pos + s) * theta^(-2i / dim). y may be x itself.

#include "kernel_abi.h"
#include "rope_angles.h"
#include "rope_f32_params.h"
#include "kernel_stateless.h"

enum source { COMPUTED, ANGLES, PAIRS };

struct rope {
    const struct rope_f32_params *params;
    uint32_t half;
    enum source source;
    const float *x;
    const float *freqs;
    float *y;
    struct fraction64 *steps;
    struct fraction64 *turns;
    struct cos_sin *row;
};

static int32_t check_freqs(struct rope *rope, const struct kernel_region *freqs) {
    uint32_t size = kernel_product(kernel_product(rope->params->seq, rope->half), 4);
    if (freqs->size == 0) {
        rope->source = COMPUTED;
        if (rope->half > ROPE_MAX_HALF) {
            return KERNEL_NOT_IMPLEMENTED;
        }
        return rope_theta_is_valid(rope->params->theta) ? KERNEL_OK : KERNEL_INVALID_PARAMS;
    }
    rope->source = freqs->size == size ? ANGLES : PAIRS;
    if (rope->source == PAIRS) {
        size = kernel_product(size, 2);
    }
    return kernel_region_is(freqs, size, 4) ? KERNEL_OK : KERNEL_INVALID_INPUT;
}

static int32_t check(struct rope *rope, const struct kernel_descriptor *call) {
    const struct rope_f32_params *params = KERNEL_PARAMS(call, struct rope_f32_params);
    if (params == NULL || params->dim % 2 != 0 || params->interleaved > 1) {
        return KERNEL_INVALID_PARAMS;
    }
    rope->params = params;
    rope->half = params->dim / 2;
    uint32_t rows = kernel_product(kernel_product(params->batch, params->seq), params->heads);
    uint32_t size = kernel_product(kernel_product(rows, params->dim), 4);
    if (!kernel_region_is(&call->input_a, size, 4)) {
        return KERNEL_INVALID_INPUT;
    }
    int32_t code = check_freqs(rope, &call->input_b);
    if (code != KERNEL_OK) {
        return code;
    }
    if (!kernel_region_is(&call->output, size, 4) || !kernel_output_is_apart(call, true)) {
        return KERNEL_INVALID_OUTPUT;
    }
    uint32_t pair = 2 * sizeof(struct fraction64) + sizeof(struct cos_sin);
    if (!kernel_scratch_is(call, kernel_product(rope->half, pair), 4)) {
        return KERNEL_OUT_OF_MEMORY;
    }
    rope->x = kernel_pointer(call->input_a.offset);
    rope->freqs = kernel_pointer(call->input_b.offset);
    rope->y = kernel_pointer(call->output.offset);
    rope->steps = kernel_pointer(call->scratch.offset);
    rope->turns = rope->steps + rope->half;
    rope->row = (struct cos_sin *)(rope->turns + rope->half);
    return KERNEL_OK;
}

// Cosines and sines of position s, which all batches and heads share. Positions are asked for in order.
static const struct cos_sin *row_at(const struct rope *rope, uint32_t s) {
    if (rope->source == PAIRS) {
        return (const struct cos_sin *)rope->freqs + s * rope->half;
    }
    for (uint32_t i = 0; i < rope->half; i++) {
        if (rope->source == ANGLES) {
            rope->row[i] = cos_sin_of(rope->freqs[s * rope->half + i]);
        } else {
            rope->row[i] = cos_sin_of_turn(rope->turns[i]);
            rope->turns[i] = fraction64_add(rope->turns[i], rope->steps[i]);
        }
    }
    return rope->row;
}

// Turn every pair of a row: elements i * step and i * step + distance.
static void rotate(float *y, const float *x, const struct cos_sin *row, uint32_t half, uint32_t step, uint32_t distance) {
    for (uint32_t i = 0; i < half; i++) {
        float a = x[i * step];
        float b = x[i * step + distance];
        y[i * step] = a * row[i].cos - b * row[i].sin;
        y[i * step + distance] = a * row[i].sin + b * row[i].cos;
    }
}

KERNEL_EXPORT(rope_forward)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    struct rope rope;
    int32_t code = check(&rope, kernel_descriptor_at(descriptor));
    if (code != KERNEL_OK) {
        return code;
    }
    const struct rope_f32_params *params = rope.params;
    uint32_t step = params->interleaved ? 2 : 1;
    uint32_t distance = params->interleaved ? 1 : rope.half;
    if (rope.source == COMPUTED) {
        rope_start(rope.steps, rope.turns, rope.half, params->theta, params->pos);
    }
    for (uint32_t s = 0; s < params->seq; s++) {
        const struct cos_sin *row = row_at(&rope, s);
        for (uint32_t b = 0; b < params->batch; b++) {
            uint32_t first = (b * params->seq + s) * params->heads * params->dim;
            for (uint32_t h = 0; h < params->heads; h++) {
                uint32_t at = first + h * params->dim;
                rotate(rope.y + at, rope.x + at, row, rope.half, step, distance);
            }
        }
    }
    return KERNEL_OK;
}
