// The turning of a row of f16, pair by pair; simd128/rope_f16_row.h takes it as a row of f32.

#ifndef ROPE_F16_ROW_H
#define ROPE_F16_ROW_H

#include "kernel_f16.h"

// Turns pairs as rotate_pairs does, up to the first with an f16 that is not ordinary, of x or y; how many are left. The
// loop over any pairs is another one, so that this has registers for all it needs.
static inline uint32_t f16_rotate_ordinary(
    uint16_t *y, const uint16_t *x, const struct cos_sin *row, uint32_t count, uint32_t step, uint32_t distance) {
    KERNEL_ROLLED
    for (; count != 0; count--, x += step, y += step, row++) {
        if (!f16_is_ordinary(x[0]) || !f16_is_ordinary(x[distance])) {
            break;
        }
        float a = float_from_ordinary_f16(x[0]);
        float b = float_from_ordinary_f16(x[distance]);
        float y_a = a * row->cos - b * row->sin;
        float y_b = a * row->sin + b * row->cos;
        if (!float_is_ordinary_f16(y_a) || !float_is_ordinary_f16(y_b)) {
            break;
        }
        y[0] = f16_from_ordinary_float(y_a);
        y[distance] = f16_from_ordinary_float(y_b);
    }
    return count;
}

KERNEL_LOOP uint32_t f16_rotate_interleaved(uint16_t *y, const uint16_t *x, const struct cos_sin *row, uint32_t half) {
    return f16_rotate_ordinary(y, x, row, half, 2, 1);
}

KERNEL_LOOP uint32_t f16_rotate_halves(uint16_t *y, const uint16_t *x, const struct cos_sin *row, uint32_t half) {
    return f16_rotate_ordinary(y, x, row, half, 1, half);
}

// Turns any pairs.
KERNEL_LOOP void f16_rotate_any(
    uint16_t *y, const uint16_t *x, const struct cos_sin *row, uint32_t count, uint32_t step, uint32_t distance) {
    KERNEL_ROLLED
    for (; count != 0; count--, x += step, y += step, row++) {
        float a = float_from_f16(x[0]);
        float b = float_from_f16(x[distance]);
        y[0] = f16_from_float(a * row->cos - b * row->sin);
        y[distance] = f16_from_float(a * row->sin + b * row->cos);
    }
}

static inline void f16_turn(const struct rope *rope, uint16_t *y, const uint16_t *x, const struct cos_sin *row) {
    uint32_t half = rope->half;
    bool interleaved = rope->params->interleaved;
    uint32_t left = interleaved ? f16_rotate_interleaved(y, x, row, half) : f16_rotate_halves(y, x, row, half);
    if (left != 0) {
        uint32_t step = interleaved ? 2 : 1;
        uint32_t at = (half - left) * step;
        f16_rotate_any(y + at, x + at, row + (half - left), left, step, interleaved ? 1 : half);
    }
}

#endif
