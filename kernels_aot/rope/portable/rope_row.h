// Angles of a position and the turning of a row, one pair at a time; simd128/rope_row.h takes four.

#ifndef ROPE_ROW_H
#define ROPE_ROW_H

#include "kernel_abi.h"
#include "rope_pairs.h"

// Cosines and sines of `turns`, each of which then advances by its step.
KERNEL_LOOP void next_row(
    struct cos_sin *row, struct fraction64 *turns, const struct fraction64 *steps, uint32_t half) {
    next_pairs(row, turns, steps, half);
}

// Pairs (0, 1), (2, 3), ... y may be x.
KERNEL_LOOP void rotate_interleaved(float *y, const float *x, const struct cos_sin *row, uint32_t half) {
    rotate_pairs(y, x, row, half, 2, 1);
}

// Pairs (0, half), (1, half + 1), ... y may be x.
KERNEL_LOOP void rotate_halves(float *y, const float *x, const struct cos_sin *row, uint32_t half) {
    rotate_pairs(y, x, row, half, 1, half);
}

#endif
