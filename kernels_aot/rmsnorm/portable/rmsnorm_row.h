// Sums and products over a row, element by element; simd128/rmsnorm_row.h does the same with vectors.

#ifndef RMSNORM_ROW_H
#define RMSNORM_ROW_H

#include "kernel_abi.h"
#include "rmsnorm_lanes.h"

KERNEL_LOOP float sum_of_squares(const float *x, uint32_t count) {
    float sum[REDUCE_LANES] = {0};
    uint32_t j = 0;
    for (; j + REDUCE_LANES <= count; j += REDUCE_LANES) {
        add_squares(sum, x + j, REDUCE_LANES);
    }
    add_squares(sum, x + j, count - j);
    return reduce_lanes(sum);
}

// y = x * scale * weight, from left to right. y may be x.
KERNEL_LOOP void scale_row(float *y, const float *x, float scale, const float *weight, uint32_t count) {
    for (uint32_t j = 0; j < count; j++) {
        y[j] = x[j] * scale * weight[j];
    }
}

#endif
