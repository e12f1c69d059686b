// Rotary position embedding, for any format of a row.
//
// x and y are [batch, seq, heads, dim]. Pair i of a row, elements (2i, 2i + 1) when interleaved and (i, i + dim/2)
// otherwise, is turned by an angle of its own that depends on the position s in the sequence:
//
//     y_a = x_a * cos - x_b * sin
//     y_b = x_a * sin + x_b * cos
//
// freqs gives the angles in radians, [seq, dim/2], or their cosines and sines, [seq, dim/2, 2]; without it they are
// (pos + s) * theta^(-2i / dim). y may be x itself.
//
// Who includes this defines rope_params (the struct of the params block), ROPE_ALIGN (of an element or block), and:
//     uint32_t rope_row_size(uint32_t dim)       bytes of a row; 0 for a dim that no row can have
//     void rope_turn(const struct rope *rope, uint8_t *y, const uint8_t *x, const struct cos_sin *row)
// of which the second may use rope->floats, room for a row of f32.

#ifndef ROPE_H
#define ROPE_H

#include "kernel_abi.h"
#include "rope_angles.h"
#include "rope_row.h"

enum rope_source { ROPE_COMPUTED, ROPE_ANGLES, ROPE_PAIRS };

struct rope {
    const rope_params *params;
    uint32_t half;
    uint32_t row_size;
    bool inverse;
    enum rope_source source;
    const uint8_t *x;
    const float *freqs;
    uint8_t *y;
    float *floats;
    struct fraction64 *steps;
    struct fraction64 *turns;
    struct cos_sin *row;
};

static uint32_t rope_row_size(uint32_t dim);
static void rope_turn(const struct rope *rope, uint8_t *y, const uint8_t *x, const struct cos_sin *row);

static int32_t rope_check_freqs(struct rope *rope, const struct kernel_region *freqs) {
    uint32_t size = kernel_product(kernel_product(rope->params->seq, rope->half), 4);
    if (freqs->size == 0) {
        rope->source = ROPE_COMPUTED;
        if (rope->half > ROPE_MAX_HALF) {
            return KERNEL_NOT_IMPLEMENTED;
        }
        return rope_theta_is_valid(rope->params->theta) ? KERNEL_OK : KERNEL_INVALID_PARAMS;
    }
    rope->source = freqs->size == size ? ROPE_ANGLES : ROPE_PAIRS;
    if (rope->source == ROPE_PAIRS) {
        size = kernel_product(size, 2);
    }
    return kernel_region_is(freqs, size, 4) ? KERNEL_OK : KERNEL_INVALID_INPUT;
}

// Scratch, four words for each element of a row: f32s of a row, steps, turns, and cosines and sines.
static int32_t rope_check_scratch(struct rope *rope, const struct kernel_descriptor *call) {
    if (!kernel_scratch_is(call, kernel_product(rope->params->dim, 16), 4)) {
        return KERNEL_OUT_OF_MEMORY;
    }
    rope->floats = kernel_pointer(call->scratch.offset);
    rope->steps = (struct fraction64 *)(rope->floats + rope->params->dim);
    rope->turns = rope->steps + rope->half;
    rope->row = (struct cos_sin *)(rope->turns + rope->half);
    return KERNEL_OK;
}

static int32_t rope_check(struct rope *rope, const struct kernel_descriptor *call) {
    const rope_params *params = KERNEL_PARAMS(call, rope_params);
    if (params == NULL || params->dim % 2 != 0 || params->interleaved > 1 || rope_row_size(params->dim) == 0) {
        return KERNEL_INVALID_PARAMS;
    }
    rope->params = params;
    rope->half = params->dim / 2;
    rope->row_size = rope_row_size(params->dim);
    uint32_t rows = kernel_product(kernel_product(params->batch, params->seq), params->heads);
    uint32_t size = kernel_product(rows, rope->row_size);
    if (!kernel_region_is(&call->input_a, size, ROPE_ALIGN)) {
        return KERNEL_INVALID_INPUT;
    }
    int32_t code = rope_check_freqs(rope, &call->input_b);
    if (code != KERNEL_OK) {
        return code;
    }
    if (!kernel_region_is(&call->output, size, ROPE_ALIGN) || !kernel_output_is_apart(call, true)) {
        return KERNEL_INVALID_OUTPUT;
    }
    rope->x = kernel_pointer(call->input_a.offset);
    rope->freqs = kernel_pointer(call->input_b.offset);
    rope->y = kernel_pointer(call->output.offset);
    return rope_check_scratch(rope, call);
}

// Cosines and sines of position s, which all batches and heads share. Positions are asked for in order.
static const struct cos_sin *rope_row_at(const struct rope *rope, uint32_t s) {
    uint32_t at = s * rope->half;
    const struct cos_sin *pairs = (const struct cos_sin *)rope->freqs + at;
    if (rope->source == ROPE_PAIRS && !rope->inverse) {
        return pairs;
    }
    if (rope->source == ROPE_COMPUTED) {
        next_row(rope->row, rope->turns, rope->steps, rope->half);
    } else {
        for (uint32_t i = 0; i < rope->half; i++) {
            rope->row[i] = rope->source == ROPE_PAIRS ? pairs[i] : cos_sin_of(rope->freqs[at + i]);
        }
    }
    for (uint32_t i = 0; rope->inverse && i < rope->half; i++) {
        rope->row[i].sin = -rope->row[i].sin;
    }
    return rope->row;
}

// Turn a row of f32s; y may be x.
static inline void rope_turn_floats(const struct rope *rope, float *y, const float *x, const struct cos_sin *row) {
    if (rope->params->interleaved) {
        rotate_interleaved(y, x, row, rope->half);
    } else {
        rotate_halves(y, x, row, rope->half);
    }
}

// The whole call; `inverse` turns the other way, which is how gradients go.
static int32_t rope_run(const struct kernel_descriptor *call, bool inverse) {
    struct rope rope = {.inverse = inverse};
    int32_t code = rope_check(&rope, call);
    if (code != KERNEL_OK) {
        return code;
    }
    const rope_params *params = rope.params;
    if (rope.source == ROPE_COMPUTED) {
        rope_start(rope.steps, rope.turns, rope.half, params->theta, params->pos);
    }
    for (uint32_t s = 0; s < params->seq; s++) {
        const struct cos_sin *row = rope_row_at(&rope, s);
        for (uint32_t b = 0; b < params->batch; b++) {
            uint32_t at = (b * params->seq + s) * params->heads * rope.row_size;
            for (uint32_t h = 0; h < params->heads; h++, at += rope.row_size) {
                rope_turn(&rope, rope.y + at, rope.x + at, row);
            }
        }
    }
    return KERNEL_OK;
}

#endif
