// The two products of LoRA: x A sum by sum, each in a register; (x A) B, whose sums are short, row by row.
// simd128/lora_rows.h computes four sums or more at a time.
//
// Every sum goes over its index from 0 upwards, beginning with +0: lanes are outputs, so vectors change no order.
// element, element_load and element_store are from lora_apply_f32.c or lora_apply_f16.c.

#ifndef LORA_ROWS_H
#define LORA_ROWS_H

#include "kernel_abi.h"

#define LORA_CHUNK 32 // factors, or outputs, at a time

// sum + factors * column of a matrix, whose elements are `stride` apart.
KERNEL_LOOP float lora_add(float sum, const float *factors, const element *column, uint32_t count, uint32_t stride) {
    KERNEL_ROLLED
    for (; count != 0; count--, factors++, column += stride) {
        sum += *factors * element_load(column);
    }
    return sum;
}

// sums += factor * row
KERNEL_LOOP void lora_accumulate(float *sums, float factor, const element *row, uint32_t count) {
    KERNEL_ROLLED
    for (; count != 0; count--, sums++) {
        *sums += factor * element_load(row++);
    }
}

// y += scale * sums
KERNEL_LOOP void lora_finish(element *y, const float *sums, float scale, uint32_t count) {
    KERNEL_ROLLED
    for (; count != 0; count--, y++) {
        element_store(y, element_load(y) + scale * *sums++);
    }
}

KERNEL_LOOP void lora_load(float *floats, const element *stored, uint32_t count) {
    KERNEL_ROLLED
    for (; count != 0; count--) {
        *floats++ = element_load(stored++);
    }
}

// h = x A: x is [d_in], a is [d_in, rank], h is [rank].
static inline void lora_project(float *h, const element *x, const element *a, uint32_t d_in, uint32_t rank) {
    for (uint32_t r = 0; r < rank; r++) {
        h[r] = 0.0f;
    }
    for (uint32_t i = 0; i < d_in; i += LORA_CHUNK) {
        float factors[LORA_CHUNK];
        uint32_t count = d_in - i < LORA_CHUNK ? d_in - i : LORA_CHUNK;
        lora_load(factors, x + i, count);
        for (uint32_t r = 0; r < rank; r++) {
            h[r] = lora_add(h[r], factors, a + i * rank + r, count, rank);
        }
    }
}

// y += scale * (h B): b is [rank, d_out], y is [d_out].
static inline void lora_update(element *y, const float *h, const element *b, float scale, uint32_t rank, uint32_t d_out) {
    for (uint32_t j = 0; j < d_out; j += LORA_CHUNK) {
        float sums[LORA_CHUNK] = {0};
        uint32_t count = d_out - j < LORA_CHUNK ? d_out - j : LORA_CHUNK;
        for (uint32_t r = 0; r < rank; r++) {
            lora_accumulate(sums, h[r], b + r * d_out + j, count);
        }
        lora_finish(y + j, sums, scale, count);
    }
}

// y += scale * ((x A) B). h has room for x A of one row.
static inline void lora_run_rows(
    element *y, const element *x, const element *a, const element *b, float *h, const lora_params *params) {
    for (uint32_t row = 0; row < params->rows; row++, x += params->d_in, y += params->d_out) {
        lora_project(h, x, a, params->d_in, params->rank);
        lora_update(y, h, b, params->scale, params->rank, params->d_out);
    }
}

#endif
