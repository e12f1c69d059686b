// The pairs of a row, one at a time: what every flavour of rope_row.h ends with.

#ifndef ROPE_PAIRS_H
#define ROPE_PAIRS_H

#include "kernel_math.h"

// Cosines and sines of `turns`, each of which then advances by its step.
static inline void next_pairs(
    struct cos_sin *row, struct fraction64 *turns, const struct fraction64 *steps, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        row[i] = cos_sin_of_turn(turns[i]);
        turns[i] = fraction64_add(turns[i], steps[i]);
    }
}

// Pairs are elements i * step and i * step + distance. y may be x.
static inline void rotate_pairs(
    float *y, const float *x, const struct cos_sin *row, uint32_t count, uint32_t step, uint32_t distance) {
    for (uint32_t i = 0; i < count; i++) {
        float a = x[i * step];
        float b = x[i * step + distance];
        y[i * step] = a * row[i].cos - b * row[i].sin;
        y[i * step + distance] = a * row[i].sin + b * row[i].cos;
    }
}

#endif
