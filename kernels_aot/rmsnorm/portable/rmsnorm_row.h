// Sums and products over a row, in the fixed order that every flavour keeps; simd128/rmsnorm_row.h is this with vectors.
//
// Element j goes to partial sum j mod 8, in order. The eight are then added as two vectors of four would be:
// ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7)).

#ifndef RMSNORM_ROW_H
#define RMSNORM_ROW_H

#include <stdint.h>

#define REDUCE_LANES 8

static inline float reduce_lanes(const float sum[REDUCE_LANES]) {
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

static inline float sum_of_squares(const float *x, uint32_t count) {
    float sum[REDUCE_LANES] = {0};
    uint32_t j = 0;
    for (; j + REDUCE_LANES <= count; j += REDUCE_LANES) {
        for (uint32_t lane = 0; lane < REDUCE_LANES; lane++) {
            sum[lane] += x[j + lane] * x[j + lane];
        }
    }
    for (uint32_t lane = 0; j + lane < count; lane++) {
        sum[lane] += x[j + lane] * x[j + lane];
    }
    return reduce_lanes(sum);
}

// y = x * scale * weight, from left to right. y may be x.
static inline void scale_row(float *y, const float *x, float scale, const float *weight, uint32_t count) {
    for (uint32_t j = 0; j < count; j++) {
        y[j] = x[j] * scale * weight[j];
    }
}

#endif
