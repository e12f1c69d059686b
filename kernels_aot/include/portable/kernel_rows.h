// Rows of stored formats from and to f32, element by element; simd128/kernel_rows.h does the same four at a time.

#ifndef KERNEL_ROWS_H
#define KERNEL_ROWS_H

#include "kernel_blocks.h"
#include "kernel_f16.h"

KERNEL_LOOP void f16_load_row(float *row, const uint16_t *stored, uint32_t count) {
    KERNEL_ROLLED
    for (; count != 0; count--) {
        *row++ = float_from_f16(*stored++);
    }
}

KERNEL_LOOP void f16_store_row(uint16_t *stored, const float *row, uint32_t count) {
    KERNEL_ROLLED
    for (; count != 0; count--) {
        *stored++ = f16_from_float(*row++);
    }
}

// ---- from blocks ----

// A finite scale taken apart, so that its product with a quant of 8 bits takes no float arithmetic: such a product is
// exact, and normal in f32.
struct block_scale {
    uint32_t sign;
    uint32_t mantissa;
    uint32_t exponent; // of a product whose leading bit is bit 17, biased as in an f32
};

static inline struct block_scale block_scale_of(uint32_t half) {
    uint32_t biased = half >> 10 & 0x1f;
    return (struct block_scale){
        .sign = (half & 0x8000) << 16,
        .mantissa = (half & 0x3ff) | (biased != 0 ? 0x400 : 0),
        .exponent = (biased != 0 ? biased : 1) + 127 - 25 + 17,
    };
}

static inline float block_element(struct block_scale scale, int32_t quant) {
    uint32_t sign = scale.sign ^ ((uint32_t)quant & 0x80000000);
    uint32_t value = scale.mantissa * (uint32_t)(quant < 0 ? -quant : quant) << 6;
    uint32_t exponent = scale.exponent;
    if (value == 0) {
        return float_from_bits(sign);
    }
    // No loop, so that the loop around it is an innermost one; and to count zeros is a call where a processor cannot.
    if (value < 1u << 20) {
        value <<= 4;
        exponent -= 4;
        if (value < 1u << 16) {
            value <<= 8;
            exponent -= 8;
        }
        if (value < 1u << 20) {
            value <<= 4;
            exponent -= 4;
        }
    }
    if (value < 1u << 22) {
        value <<= 2;
        exponent -= 2;
    }
    if (value < 1u << 23) {
        value <<= 1;
        exponent--;
    }
    return float_from_bits(sign + (exponent << 23) + (value & 0x7fffff));
}

static inline bool block_scale_is_finite(uint32_t half) {
    return (half & F16_INFINITE) != F16_INFINITE;
}

KERNEL_LOOP void q8_load_row(float *row, const struct q8_block *blocks, uint32_t count) {
    for (; count != 0; count -= BLOCK, blocks++) {
        struct block_scale scale = block_scale_of(blocks->scale);
        if (block_scale_is_finite(blocks->scale)) {
            for (uint32_t j = 0; j < BLOCK; j++) {
                *row++ = block_element(scale, blocks->quants[j]);
            }
        } else {
            for (uint32_t j = 0; j < BLOCK; j++) {
                *row++ = float_from_f16(blocks->scale) * (float)blocks->quants[j];
            }
        }
    }
}

// The 16 values that an element of a block may have.
static inline void q4_values(float values[16], uint32_t half) {
    struct block_scale scale = block_scale_of(half);
    bool finite = block_scale_is_finite(half);
    for (int32_t quant = 0; quant <= 8; quant++) {
        float value = finite ? block_element(scale, quant) : float_from_f16(half) * (float)quant;
        values[8 - quant] = float_from_bits(float_bits(value) ^ 0x80000000);
        if (quant < 8) {
            values[8 + quant] = value; // of 0, this one
        }
    }
}

KERNEL_LOOP void q4_load_row(float *row, const struct q4_block *blocks, uint32_t count) {
    float values[16];
    for (; count != 0; count -= BLOCK, blocks++, row += BLOCK) {
        q4_values(values, blocks->scale);
        for (uint32_t j = 0; j < BLOCK / 2; j++) {
            row[j] = values[blocks->quants[j] & 15];
            row[j + BLOCK / 2] = values[blocks->quants[j] >> 4];
        }
    }
}

// ---- to blocks ----

// x rounded to the nearest integer, halves away from zero; |x| is below 2^8.
static inline int32_t q8_round(float x) {
    uint32_t bits = float_bits(x);
    int32_t shift = 150 - (int32_t)(bits >> 23 & 0xff);
    if (shift > 24) {
        return 0;
    }
    int32_t magnitude = (int32_t)(((((bits & 0x7fffff) | 0x800000) >> (shift - 1)) + 1) >> 1);
    return bits >> 31 ? -magnitude : magnitude;
}

static inline void q8_quantise(int8_t quants[BLOCK], const float *row, float reciprocal) {
    for (uint32_t j = 0; j < BLOCK; j++) {
        quants[j] = (int8_t)q8_round(row[j] * reciprocal);
    }
}

static inline void q8_clear(struct q8_block *block) {
    volatile int8_t *quants = block->quants; // byte by byte: words of a block are not aligned
    for (uint32_t j = 0; j < BLOCK; j++) {
        quants[j] = 0;
    }
}

KERNEL_LOOP void q8_store_row(struct q8_block *blocks, const float *row, uint32_t count) {
    for (; count != 0; count -= BLOCK, blocks++, row += BLOCK) {
        uint32_t largest = 0;
        for (uint32_t j = 0; j < BLOCK; j++) {
            uint32_t magnitude = float_bits(row[j]) & 0x7fffffff;
            largest = magnitude > largest ? magnitude : largest;
        }
        float scale = float_from_bits(largest) / 127.0f;
        float reciprocal = block_reciprocal(scale);
        blocks->scale = f16_from_float(scale);
        if (float_bits(reciprocal) == 0) {
            q8_clear(blocks);
        } else {
            q8_quantise(blocks->quants, row, reciprocal);
        }
    }
}

// trunc(x + 8.5) as f32 arithmetic has it, at most 15; |x| is at most 8 and a little.
//
// In fixed point, units of 2^-27, x + 8.5 is exact wherever it is near an integer. Rounding that to f32 matters only
// where it reaches the next integer: from half a unit in the last place below it.
static inline uint32_t q4_round(float x) {
    uint32_t bits = float_bits(x);
    uint32_t exponent = bits >> 23 & 0xff;
    if (exponent < 125) {
        return 8; // less than 1/4 from 8.5
    }
    uint32_t fixed = ((bits & 0x7fffff) | 0x800000) << (exponent - 123);
    uint32_t sum = (17u << 26) + (bits >> 31 ? -fixed : fixed);
    uint32_t below = sum >> 27;
    uint32_t reach = below == 0 ? 4 : below < 2 ? 8 : below < 4 ? 16 : below < 8 ? 32 : 64;
    uint32_t quant = (sum + reach) >> 27;
    return quant < 15 ? quant : 15;
}

static inline void q4_quantise(uint8_t quants[BLOCK / 2], const float *row, float reciprocal) {
    for (uint32_t j = 0; j < BLOCK / 2; j++) {
        uint32_t low = q4_round(row[j] * reciprocal);
        uint32_t high = q4_round(row[j + BLOCK / 2] * reciprocal);
        quants[j] = (uint8_t)(low | high << 4);
    }
}

static inline void q4_clear(struct q4_block *block) {
    volatile uint8_t *quants = block->quants; // byte by byte: words of a block are not aligned
    for (uint32_t j = 0; j < BLOCK / 2; j++) {
        quants[j] = 0x88;
    }
}

KERNEL_LOOP void q4_store_row(struct q4_block *blocks, const float *row, uint32_t count) {
    for (; count != 0; count -= BLOCK, blocks++, row += BLOCK) {
        uint32_t largest = float_bits(row[0]);
        for (uint32_t j = 1; j < BLOCK; j++) {
            uint32_t bits = float_bits(row[j]);
            largest = bits << 1 > largest << 1 ? bits : largest;
        }
        float scale = float_from_bits(largest) * -0.125f;
        float reciprocal = block_reciprocal(scale);
        blocks->scale = f16_from_float(scale);
        if (float_bits(reciprocal) == 0) {
            q4_clear(blocks);
        } else {
            q4_quantise(blocks->quants, row, reciprocal);
        }
    }
}

#endif
