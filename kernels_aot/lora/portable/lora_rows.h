// The two products of LoRA, element by element; simd128/lora_rows.h does the same four at a time.
//
// Every sum goes over its index from 0 upwards, beginning with +0: lanes are outputs, so vectors change no order.
// element, element_load and element_store are from lora_f32.c or lora_f16.c.

#ifndef LORA_ROWS_H
#define LORA_ROWS_H

#include <stdint.h>

#define LORA_CHUNK 32 // outputs at a time

// sums += x * row
static inline void lora_accumulate(float *sums, float x, const element *row, uint32_t count) {
    for (uint32_t j = 0; j < count; j++) {
        sums[j] += x * element_load(row + j);
    }
}

// h = x A: x is [d_in], a is [d_in, rank], h is [rank].
static inline void lora_project(float *h, const element *x, const element *a, uint32_t d_in, uint32_t rank) {
    for (uint32_t r = 0; r < rank; r++) {
        h[r] = 0.0f;
    }
    for (uint32_t i = 0; i < d_in; i++) {
        lora_accumulate(h, element_load(x + i), a + i * rank, rank);
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
        for (uint32_t k = 0; k < count; k++) {
            element_store(y + j + k, element_load(y + j + k) + scale * sums[k]);
        }
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
