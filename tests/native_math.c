// The functions of kernel_math.h, kernel_f16.h and rope_angles.h over arrays, for test_kernels.py and test_kernel_formats.py.

#include <stddef.h>

#include "kernel_abi.h"
#include "kernel_f16.h"
#include "kernel_math.h"
#include "rope_angles.h"

void cos_sin_array(const float *x, float *cos, float *sin, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct cos_sin result = cos_sin_of(x[i]);
        cos[i] = result.cos;
        sin[i] = result.sin;
    }
}

void exp_minus_array(const float *x, float *y, size_t count, int32_t shift) {
    for (size_t i = 0; i < count; i++) {
        y[i] = exp_minus(float_bits(x[i]), shift);
    }
}

// Rows of cosines and sines for positions pos, pos + 1, ... of `half` pairs each, as rope computes them.
void rope_rows(float *cos, float *sin, uint32_t rows, uint32_t half, float theta, uint32_t pos, struct fraction64 *scratch) {
    struct fraction64 *steps = scratch;
    struct fraction64 *turns = scratch + half;
    rope_start(steps, turns, half, theta, pos);
    for (uint32_t s = 0; s < rows; s++) {
        for (uint32_t i = 0; i < half; i++) {
            struct cos_sin result = cos_sin_of_turn(turns[i]);
            cos[s * half + i] = result.cos;
            sin[s * half + i] = result.sin;
            fraction64_advance(&turns[i], &steps[i]);
        }
    }
}

void f16_load_array(const uint16_t *stored, float *row, size_t count) {
    for (size_t i = 0; i < count; i++) {
        row[i] = float_from_f16(stored[i]);
    }
}

void f16_store_array(const float *row, uint16_t *stored, size_t count) {
    for (size_t i = 0; i < count; i++) {
        stored[i] = f16_from_float(row[i]);
    }
}
