// The two products of LoRA, four outputs at a time, with the bits of portable/lora_rows.h.
//
// Both add up products of factors and rows of a matrix. For one row of factors, the sums of up to eight vectors of columns
// stay in registers while eight or more rows of the matrix are added; they go through memory only where Wasmtime looks at
// its epoch. Several rows share what is loaded of the matrix, and converted: below.

#ifndef LORA_ROWS_H
#define LORA_ROWS_H

#include "kernel_rows.h"
#include "kernel_vectors.h"

#define LORA_TERMS 64   // factors at a time
#define LORA_COLUMNS 64 // outputs at a time
#define LORA_ROWS 8     // rows at a time, at the most
#define LORA_RANK 128   // for more than one row at a time, at the most
#define LORA_DEPTH 8    // rows of the matrix that such rows share

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

// y += scale * sums, for `count` columns.
static inline void lora_finish(element *y, const float *sums, float scale, uint32_t count) {
    for (; count >= LORA_COLUMNS; count -= LORA_COLUMNS, y += LORA_COLUMNS, sums += LORA_COLUMNS) {
        UNROLLED
        for (uint32_t k = 0; k < LORA_COLUMNS; k += LANES) {
            elements_store_x4(y + k, elements_load_x4(y + k) + scale * f32x4_load(sums + k));
        }
    }
    for (; count >= LANES; count -= LANES, y += LANES, sums += LANES) {
        elements_store_x4(y, elements_load_x4(y) + scale * f32x4_load(sums));
    }
    for (; count != 0; count--, y++, sums++) {
        element_store(y, element_load(y) + scale * *sums);
    }
}

// y += scale * (h B): b is [rank, d_out], y is [d_out].
static inline void lora_update(element *y, const float *h, const element *b, float scale, uint32_t rank, uint32_t d_out) {
    for (uint32_t j = 0; j < d_out; j += LORA_COLUMNS) {
        float sums[LORA_COLUMNS] = {0};
        uint32_t count = d_out - j < LORA_COLUMNS ? d_out - j : LORA_COLUMNS;
        lora_accumulate(sums, (struct lora_terms){rank, h, b + j, d_out}, count);
        lora_finish(y + j, sums, scale, count);
    }
}

// ---- several rows ----

// What several rows have in common: terms->factors are the first row's.
struct lora_rows {
    struct lora_terms terms;
    uint32_t step;  // floats from one row of factors to the next
    uint32_t width; // and from one row of sums to the next
    bool begun;     // whether sums have a value already; else they begin with +0
};

// One vector of columns, `depth` terms. A sum is loaded, added to and stored before the next, because Wasmtime keeps the
// order of loads and stores only: what is between them it computes where it is needed, and would need all factors at once
// for sums that end together.
VECTOR_TEMPLATE void lora_add_block(float *sums, const struct lora_rows *all, uint32_t rows, uint32_t depth) {
    const struct lora_terms *terms = &all->terms;
    const u32x4 begun = u32x4_splat(-(uint32_t)all->begun);
    f32x4 matrix[LORA_DEPTH];
    UNROLLED
    for (uint32_t t = 0; t < depth; t++) {
        matrix[t] = elements_load_x4(terms->matrix + t * terms->stride);
    }
    UNROLLED
    for (uint32_t r = 0; r < rows; r++) {
        f32x4 sum = (f32x4)((u32x4)f32x4_load(sums + r * all->width) & begun);
        UNROLLED
        for (uint32_t t = 0; t < depth; t++) {
            sum += (f32x4)wasm_v128_load32_splat(terms->factors + r * all->step + t) * matrix[t];
        }
        f32x4_store(sums + r * all->width, sum);
    }
}

static inline void lora_add_column(float *sums, const struct lora_rows *all, uint32_t rows, uint32_t depth) {
    struct lora_terms terms = all->terms;
    terms.count = depth;
    for (uint32_t r = 0; r < rows; r++, sums += all->width, terms.factors += all->step) {
        *sums = all->begun ? *sums : 0.0f;
        lora_add_x1(sums, &terms);
    }
}

// `count` columns, `depth` terms, with which it is done.
VECTOR_TEMPLATE void lora_add_columns(
    float *sums, struct lora_rows *all, uint32_t count, uint32_t rows, uint32_t depth) {
    struct lora_rows left = *all;
    for (; count >= LANES; count -= LANES, sums += LANES, left.terms.matrix += LANES) {
        lora_add_block(sums, &left, rows, depth);
    }
    for (; count != 0; count--, sums++, left.terms.matrix++) {
        lora_add_column(sums, &left, rows, depth);
    }
    all->begun = true;
    all->terms.count -= depth;
    all->terms.factors += depth;
    all->terms.matrix += depth * all->terms.stride;
}

VECTOR_TEMPLATE void lora_add_rows(float *sums, struct lora_rows all, uint32_t count, uint32_t rows) {
    while (all.terms.count >= LORA_DEPTH) {
        lora_add_columns(sums, &all, count, rows, LORA_DEPTH);
    }
    while (all.terms.count != 0) {
        lora_add_columns(sums, &all, count, rows, 1);
    }
}

VECTOR_FUNCTION void lora_add_8_rows(float *sums, const struct lora_rows *all, uint32_t count) {
    lora_add_rows(sums, *all, count, 8);
}

VECTOR_FUNCTION void lora_add_4_rows(float *sums, const struct lora_rows *all, uint32_t count) {
    lora_add_rows(sums, *all, count, 4);
}

// sums += factors * matrix, for `count` columns of 8 or 4 rows.
static inline void lora_accumulate_rows(float *sums, struct lora_rows all, uint32_t count, uint32_t rows) {
    if (rows == 8) {
        lora_add_8_rows(sums, &all, count);
    } else {
        lora_add_4_rows(sums, &all, count);
    }
}

// h = x A, as lora_project, for 8 or 4 rows.
static inline void lora_project_rows(
    float *h, const element *x, const element *a, uint32_t d_in, uint32_t rank, uint32_t rows) {
    static float room[LORA_ROWS * LORA_TERMS];
    for (uint32_t i = 0; i < d_in; i += LORA_TERMS) {
        uint32_t count = d_in - i < LORA_TERMS ? d_in - i : LORA_TERMS;
        const float *factors = elements_floats(x + i, room, count);
        for (uint32_t r = 1; r < rows; r++) {
            elements_floats(x + r * d_in + i, room + r * LORA_TERMS, count);
        }
        uint32_t step = factors == room ? LORA_TERMS : d_in;
        struct lora_terms terms = {count, factors, a + i * rank, rank};
        lora_accumulate_rows(h, (struct lora_rows){terms, step, rank, i != 0}, rank, rows);
    }
}

// y += scale * (h B), as lora_update, for 8 or 4 rows.
static inline void lora_update_rows(
    element *y, const float *h, const element *b, float scale, uint32_t rank, uint32_t d_out, uint32_t rows) {
    static float sums[LORA_ROWS * LORA_COLUMNS];
    for (uint32_t j = 0; j < d_out; j += LORA_COLUMNS) {
        uint32_t count = d_out - j < LORA_COLUMNS ? d_out - j : LORA_COLUMNS;
        struct lora_terms terms = {rank, h, b + j, d_out};
        lora_accumulate_rows(sums, (struct lora_rows){terms, rank, LORA_COLUMNS, false}, count, rows);
        for (uint32_t r = 0; r < rows; r++) {
            lora_finish(y + r * d_out + j, sums + r * LORA_COLUMNS, scale, count);
        }
    }
}

// y += scale * ((x A) B). h has room for x A of one row.
static inline void lora_run_rows(
    element *y, const element *x, const element *a, const element *b, float *h, const lora_params *params) {
    static float many[LORA_ROWS * LORA_RANK];
    uint32_t d_in = params->d_in, rank = params->rank, d_out = params->d_out;
    uint32_t left = params->rows, rows;
    for (; left != 0; left -= rows, x += rows * d_in, y += rows * d_out) {
        rows = rank > LORA_RANK || left < 4 ? 1 : left < 8 ? 4 : 8;
        if (rows == 1) {
            lora_project(h, x, a, d_in, rank);
            lora_update(y, h, b, params->scale, rank, d_out);
        } else {
            lora_project_rows(many, x, a, d_in, rank, rows);
            lora_update_rows(y, many, b, params->scale, rank, d_out, rows);
        }
    }
}

#endif
