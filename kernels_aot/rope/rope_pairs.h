// The pairs of a row, one at a time: what every flavour of rope_row.h ends with.

#ifndef ROPE_PAIRS_H
#define ROPE_PAIRS_H

#include "kernel_math.h"

// Cosines and sines of `turns`, each of which then advances by its step.
static inline void next_pairs(
    struct cos_sin *row, struct fraction64 *turns, const struct fraction64 *steps, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        row[i] = cos_sin_of_turn(turns[i]);
        fraction64_advance(&turns[i], &steps[i]);
    }
}

// Pairs are elements i * step and i * step + distance. y may be x.
static inline void rotate_pairs(
    float *y, const float *x, const struct cos_sin *row, uint32_t count, uint32_t step, uint32_t distance) {
    for (; count != 0; count--, x += step, y += step, row++) {
        float a = x[0];
        float b = x[distance];
        y[0] = a * row->cos - b * row->sin;
        y[distance] = a * row->sin + b * row->cos;
    }
}

#endif
