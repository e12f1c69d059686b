// Turning the pairs of a row, one pair at a time; simd128/rope_rotate.h turns four.

#ifndef ROPE_ROTATE_H
#define ROPE_ROTATE_H

#include "kernel_math.h"

// Pairs are elements i * step and i * step + distance. y may be x.
static inline void rotate_pairs(
    float *y, const float *x, const struct cos_sin *row, uint32_t half, uint32_t step, uint32_t distance) {
    for (uint32_t i = 0; i < half; i++) {
        float a = x[i * step];
        float b = x[i * step + distance];
        y[i * step] = a * row[i].cos - b * row[i].sin;
        y[i * step + distance] = a * row[i].sin + b * row[i].cos;
    }
}

// Pairs (0, 1), (2, 3), ...
static inline void rotate_interleaved(float *y, const float *x, const struct cos_sin *row, uint32_t half) {
    rotate_pairs(y, x, row, half, 2, 1);
}

// Pairs (0, half), (1, half + 1), ...
static inline void rotate_halves(float *y, const float *x, const struct cos_sin *row, uint32_t half) {
    rotate_pairs(y, x, row, half, 1, half);
}

#endif
