// Sums and products over a row, four elements at a time, with the bits of portable/rmsnorm_row.h.

#ifndef RMSNORM_ROW_H
#define RMSNORM_ROW_H

#include "kernel_vectors.h"
#include "rmsnorm_lanes.h"

#define SCALE_UNROLLED (8 * LANES)
// More, because the two sums go through memory whenever Wasmtime looks at its epoch.
#define SUM_UNROLLED (16 * LANES)

// The eight partial sums are two vectors.
static inline void add_squares_x8(f32x4 sums[2], const float *x) {
    f32x4 first = f32x4_load(x);
    f32x4 second = f32x4_load(x + LANES);
    sums[0] += first * first;
    sums[1] += second * second;
}

VECTOR_FUNCTION float sum_of_squares(const float *x, uint32_t count) {
    f32x4 sums[2] = {0};
    for (; count >= SUM_UNROLLED; count -= SUM_UNROLLED, x += SUM_UNROLLED) {
        UNROLLED
        for (uint32_t j = 0; j < SUM_UNROLLED; j += REDUCE_LANES) {
            add_squares_x8(sums, x + j);
        }
    }
    for (; count >= REDUCE_LANES; count -= REDUCE_LANES, x += REDUCE_LANES) {
        add_squares_x8(sums, x);
    }
    float sum[REDUCE_LANES];
    f32x4_store(sum, sums[0]);
    f32x4_store(sum + LANES, sums[1]);
    add_squares(sum, x, count);
    return reduce_lanes(sum);
}

// y = x * scale * weight, from left to right. y may be x.
VECTOR_FUNCTION void scale_row(float *y, const float *x, float scale, const float *weight, uint32_t count) {
    for (; count >= SCALE_UNROLLED;
         count -= SCALE_UNROLLED, y += SCALE_UNROLLED, x += SCALE_UNROLLED, weight += SCALE_UNROLLED) {
        UNROLLED
        for (uint32_t j = 0; j < SCALE_UNROLLED; j += LANES) {
            f32x4_store(y + j, f32x4_load(x + j) * scale * f32x4_load(weight + j));
        }
    }
    for (; count >= LANES; count -= LANES, y += LANES, x += LANES, weight += LANES) {
        f32x4_store(y, f32x4_load(x) * scale * f32x4_load(weight));
    }
    for (; count != 0; count--) {
        *y++ = *x++ * scale * *weight++;
    }
}

#endif
