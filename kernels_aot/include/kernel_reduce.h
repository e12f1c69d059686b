// Sums in a fixed order, so that every build of a kernel, one with SIMD too, has the same rounding.
//
// Element j goes to partial sum j mod 8, in order. The eight are then added as two vectors of four would be:
// ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7)).

#ifndef KERNEL_REDUCE_H
#define KERNEL_REDUCE_H

#include <stdint.h>

#define REDUCE_LANES 8

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
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

#endif
