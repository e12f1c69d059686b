// The two products of LoRA for one row, four outputs at a time, with the bits of portable/lora_rows.h.
//
// Both add up products of factors and rows of a matrix. The sums of up to eight vectors of columns stay in registers
// while eight or more rows are added; they go through memory only where Wasmtime looks at its epoch.

#ifndef LORA_ROWS_H
#define LORA_ROWS_H

#include "kernel_rows.h"
#include "kernel_vectors.h"

#define LORA_TERMS 64   // factors at a time
#define LORA_COLUMNS 32 // outputs at a time

static inline f32x4 elements_load_x4(const element *stored) {
    return _Generic(stored, const float *: f32x4_load, const uint16_t *: f16_load_x4)(stored);
}

static inline void elements_store_x4(element *stored, f32x4 values) {
    _Generic(stored, float *: f32x4_store, uint16_t *: f16_store_x4)(stored, values);
}

static inline const float *f32_floats(const float *stored, float *room, uint32_t count) {
    (void)room, (void)count;
    return stored;
}

static inline const float *f16_floats(const uint16_t *stored, float *room, uint32_t count) {
    f16_load_row(room, stored, count);
    return room;
}

// Elements as f32, where they are or in `room`.
static inline const float *elements_floats(const element *stored, float *room, uint32_t count) {
    return _Generic(stored, const float *: f32_floats, const uint16_t *: f16_floats)(stored, room, count);
}

struct lora_terms {
    uint32_t count;
    const float *factors;
    const element *matrix; // a row for each factor
    uint32_t stride;       // elements from one row to the next
};

// sums += factors * matrix, for the first `vectors` vectors of columns, at most 8; `unrolled` rows at a time.
VECTOR_TEMPLATE void lora_add(float *sums, const struct lora_terms *terms, uint32_t vectors, uint32_t unrolled) {
    f32x4 sum[8];
    const float *factors = terms->factors;
    const element *row = terms->matrix;
    uint32_t count = terms->count;
    UNROLLED
    for (uint32_t v = 0; v < vectors; v++) {
        sum[v] = f32x4_load(sums + v * LANES);
    }
    for (; count >= unrolled; count -= unrolled, factors += unrolled) {
        UNROLLED
        for (uint32_t t = 0; t < unrolled; t++, row += terms->stride) {
            UNROLLED
            for (uint32_t v = 0; v < vectors; v++) {
                sum[v] += factors[t] * elements_load_x4(row + v * LANES);
            }
        }
    }
    for (; count != 0; count--, factors++, row += terms->stride) {
        UNROLLED
        for (uint32_t v = 0; v < vectors; v++) {
            sum[v] += *factors * elements_load_x4(row + v * LANES);
        }
    }
    UNROLLED
    for (uint32_t v = 0; v < vectors; v++) {
        f32x4_store(sums + v * LANES, sum[v]);
    }
}

VECTOR_FUNCTION void lora_add_x32(float *sums, const struct lora_terms *terms) {
    lora_add(sums, terms, 8, 8);
}

VECTOR_FUNCTION void lora_add_x16(float *sums, const struct lora_terms *terms) {
    lora_add(sums, terms, 4, 8);
}

VECTOR_FUNCTION void lora_add_x4(float *sums, const struct lora_terms *terms) {
    lora_add(sums, terms, 1, 32);
}

static inline void lora_add_x1(float *sum, const struct lora_terms *terms) {
    for (uint32_t t = 0; t < terms->count; t++) {
        *sum += terms->factors[t] * element_load(terms->matrix + t * terms->stride);
    }
}

// sums += factors * matrix, for `count` columns.
static inline void lora_accumulate(float *sums, struct lora_terms terms, uint32_t count) {
    for (; count >= 32; count -= 32, sums += 32, terms.matrix += 32) {
        lora_add_x32(sums, &terms);
    }
    for (; count >= 16; count -= 16, sums += 16, terms.matrix += 16) {
        lora_add_x16(sums, &terms);
    }
    for (; count >= 4; count -= 4, sums += 4, terms.matrix += 4) {
        lora_add_x4(sums, &terms);
    }
    for (; count != 0; count--, sums++, terms.matrix++) {
        lora_add_x1(sums, &terms);
    }
}

// h = x A: x is [d_in], a is [d_in, rank], h is [rank].
static inline void lora_project(float *h, const element *x, const element *a, uint32_t d_in, uint32_t rank) {
    for (uint32_t r = 0; r < rank; r++) {
        h[r] = 0.0f;
    }
    for (uint32_t i = 0; i < d_in; i += LORA_TERMS) {
        float room[LORA_TERMS];
        uint32_t count = d_in - i < LORA_TERMS ? d_in - i : LORA_TERMS;
        const float *factors = elements_floats(x + i, room, count);
        lora_accumulate(h, (struct lora_terms){count, factors, a + i * rank, rank}, rank);
    }
}

// y += scale * (h B): b is [rank, d_out], y is [d_out].
static inline void lora_update(element *y, const float *h, const element *b, float scale, uint32_t rank, uint32_t d_out) {
    for (uint32_t j = 0; j < d_out; j += LORA_COLUMNS) {
        float sums[LORA_COLUMNS] = {0};
        uint32_t count = d_out - j < LORA_COLUMNS ? d_out - j : LORA_COLUMNS;
        lora_accumulate(sums, (struct lora_terms){rank, h, b + j, d_out}, count);
        uint32_t k = 0;
        for (; k + LANES <= count; k += LANES) {
            elements_store_x4(y + j + k, elements_load_x4(y + j + k) + scale * f32x4_load(sums + k));
        }
        for (; k < count; k++) {
            element_store(y + j + k, element_load(y + j + k) + scale * sums[k]);
        }
    }
}

#endif
