// Rows of stored formats from and to f32, four elements at a time, with the bits of portable/kernel_rows.h.

#ifndef KERNEL_ROWS_H
#define KERNEL_ROWS_H

#include "kernel_blocks.h"
#include "kernel_f16_x4.h"
#include "kernel_vectors.h"

#define ROW_UNROLLED (8 * LANES)

VECTOR_FUNCTION void f16_load_row(float *row, const uint16_t *stored, uint32_t count) {
    for (; count >= ROW_UNROLLED; count -= ROW_UNROLLED, row += ROW_UNROLLED, stored += ROW_UNROLLED) {
        UNROLLED
        for (uint32_t j = 0; j < ROW_UNROLLED; j += LANES) {
            f32x4_store(row + j, f16_load_x4(stored + j));
        }
    }
    for (; count >= LANES; count -= LANES, row += LANES, stored += LANES) {
        f32x4_store(row, f16_load_x4(stored));
    }
    for (; count != 0; count--) {
        *row++ = float_from_f16(*stored++);
    }
}

VECTOR_FUNCTION void f16_store_row(uint16_t *stored, const float *row, uint32_t count) {
    for (; count >= ROW_UNROLLED; count -= ROW_UNROLLED, row += ROW_UNROLLED, stored += ROW_UNROLLED) {
        UNROLLED
        for (uint32_t j = 0; j < ROW_UNROLLED; j += LANES) {
            f16_store_x4(stored + j, f32x4_load(row + j));
        }
    }
    for (; count >= LANES; count -= LANES, row += LANES, stored += LANES) {
        f16_store_x4(stored, f32x4_load(row));
    }
    for (; count != 0; count--) {
        *stored++ = f16_from_float(*row++);
    }
}

// ---- from blocks ----

// Four quants times the scale.
static inline void block_load_x4(float *row, float scale, v128_t quants_i32) {
    f32x4_store(row, scale * (f32x4)wasm_f32x4_convert_i32x4(quants_i32));
}

// 16 quants of 8 bits times the scale: the product is exact wherever the scale is finite.
static inline void block_load_x16(float *row, float scale, v128_t quants_i8) {
    v128_t low = wasm_i16x8_extend_low_i8x16(quants_i8);
    v128_t high = wasm_i16x8_extend_high_i8x16(quants_i8);
    block_load_x4(row, scale, wasm_i32x4_extend_low_i16x8(low));
    block_load_x4(row + 4, scale, wasm_i32x4_extend_high_i16x8(low));
    block_load_x4(row + 8, scale, wasm_i32x4_extend_low_i16x8(high));
    block_load_x4(row + 12, scale, wasm_i32x4_extend_high_i16x8(high));
}

VECTOR_FUNCTION void q8_load_row(float *row, const struct q8_block *blocks, uint32_t count) {
    for (; count != 0; count -= BLOCK, blocks++, row += BLOCK) {
        float scale = float_from_f16(blocks->scale);
        block_load_x16(row, scale, wasm_v128_load(blocks->quants));
        block_load_x16(row + BLOCK / 2, scale, wasm_v128_load(blocks->quants + BLOCK / 2));
    }
}

VECTOR_FUNCTION void q4_load_row(float *row, const struct q4_block *blocks, uint32_t count) {
    const v128_t eight = wasm_i8x16_const_splat(8);
    for (; count != 0; count -= BLOCK, blocks++, row += BLOCK) {
        float scale = float_from_f16(blocks->scale);
        v128_t quants = wasm_v128_load(blocks->quants);
        v128_t low = wasm_v128_and(quants, wasm_i8x16_const_splat(15));
        block_load_x16(row, scale, wasm_i8x16_sub(low, eight));
        block_load_x16(row + BLOCK / 2, scale, wasm_i8x16_sub(wasm_u8x16_shr(quants, 4), eight));
    }
}

// ---- to blocks ----

// Bits of the largest magnitude of a block; a NaN is larger than all numbers.
static inline uint32_t block_largest(const float *row) {
    v128_t largest = wasm_u32x4_const_splat(0);
    UNROLLED
    for (uint32_t j = 0; j < BLOCK; j += LANES) {
        largest = wasm_u32x4_max(largest, wasm_f32x4_abs(wasm_v128_load(row + j)));
    }
    largest = wasm_u32x4_max(largest, wasm_i32x4_shuffle(largest, largest, 2, 3, 0, 1));
    largest = wasm_u32x4_max(largest, wasm_i32x4_shuffle(largest, largest, 1, 0, 3, 2));
    return wasm_u32x4_extract_lane(largest, 0);
}

// The first element of a block with this magnitude, which one has.
static inline float block_first(const float *row, uint32_t magnitude) {
    uint32_t found = 0;
    UNROLLED
    for (uint32_t j = 0; j < BLOCK; j += LANES) {
        v128_t same = wasm_i32x4_eq(wasm_f32x4_abs(wasm_v128_load(row + j)), wasm_u32x4_splat(magnitude));
        found |= wasm_i32x4_bitmask(same) << j;
    }
    return row[__builtin_ctz(found)];
}

// 16 quants of 8 bits, from whole numbers.
static inline v128_t block_quants_x16(const f32x4 quants[4]) {
    v128_t low = wasm_i16x8_narrow_i32x4((v128_t)i32x4_of_whole(quants[0]), (v128_t)i32x4_of_whole(quants[1]));
    v128_t high = wasm_i16x8_narrow_i32x4((v128_t)i32x4_of_whole(quants[2]), (v128_t)i32x4_of_whole(quants[3]));
    return wasm_i8x16_narrow_i16x8(low, high);
}

// 16 elements divided by the scale and rounded to the nearest integer, halves away from zero. What is added is less
// than a half, or the float below a half would be rounded up; a half itself is, by the sum's own rounding.
static inline v128_t q8_quants_x16(const float *row, float reciprocal) {
    const u32x4 half = (u32x4)f32x4_splat(0x1.fffffep-2f);
    f32x4 quants[4];
    UNROLLED
    for (uint32_t v = 0; v < 4; v++) {
        f32x4 x = f32x4_load(row + v * LANES) * reciprocal;
        quants[v] = f32x4_trunc(x + (f32x4)(half | ((u32x4)x & 0x80000000)));
    }
    return block_quants_x16(quants);
}

VECTOR_FUNCTION void q8_store_row(struct q8_block *blocks, const float *row, uint32_t count) {
    for (; count != 0; count -= BLOCK, blocks++, row += BLOCK) {
        float scale = float_from_bits(block_largest(row)) / 127.0f;
        float reciprocal = block_reciprocal(scale);
        v128_t low = wasm_i8x16_const_splat(0), high = low;
        if (reciprocal != 0.0f) {
            low = q8_quants_x16(row, reciprocal);
            high = q8_quants_x16(row + BLOCK / 2, reciprocal);
        }
        blocks->scale = f16_from_float(scale);
        wasm_v128_store(blocks->quants, low);
        wasm_v128_store(blocks->quants + BLOCK / 2, high);
    }
}

// 16 elements divided by the scale: trunc(x + 8.5), at most 15.
static inline v128_t q4_quants_x16(const float *row, float reciprocal) {
    f32x4 quants[4];
    UNROLLED
    for (uint32_t v = 0; v < 4; v++) {
        quants[v] = f32x4_trunc(f32x4_load(row + v * LANES) * reciprocal + 8.5f);
    }
    return wasm_u8x16_min(block_quants_x16(quants), wasm_u8x16_const_splat(15));
}

VECTOR_FUNCTION void q4_store_row(struct q4_block *blocks, const float *row, uint32_t count) {
    for (; count != 0; count -= BLOCK, blocks++, row += BLOCK) {
        float scale = block_first(row, block_largest(row)) * -0.125f;
        float reciprocal = block_reciprocal(scale);
        v128_t low = wasm_i8x16_const_splat(8), high = low;
        if (reciprocal != 0.0f) {
            low = q4_quants_x16(row, reciprocal);
            high = q4_quants_x16(row + BLOCK / 2, reciprocal);
        }
        blocks->scale = f16_from_float(scale);
        wasm_v128_store(blocks->quants, wasm_v128_or(low, wasm_i16x8_shl(high, 4))); // no bit leaves its byte
    }
}

#endif
