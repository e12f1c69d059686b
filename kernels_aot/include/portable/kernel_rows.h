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

// The product of a finite scale with a quant of 8 bits is exact, and 0 or normal in f32. Here it takes no float
// arithmetic and no branch, nor are zeros counted, which is a call where a processor cannot: scale and quant are
// normalised each by itself, so all that their product may need is a shift by one.

// Parts of a quant: its magnitude, shifted so that the leading bit is bit 15; its sign, bit 8; its exponent, at bit 0.
#define QUANT_EXPONENT(magnitude) \
    (((magnitude) > 1) + ((magnitude) > 3) + ((magnitude) > 7) + ((magnitude) > 15) + ((magnitude) > 31) \
     + ((magnitude) > 63) + ((magnitude) > 127))
#define QUANT(sign, magnitude) \
    ((magnitude) << (15 - QUANT_EXPONENT(magnitude)) | (sign) << 8 | QUANT_EXPONENT(magnitude))
#define QUANTS_4(sign, first, step) \
    QUANT(sign, first), QUANT(sign, first + step), QUANT(sign, first + 2 * step), QUANT(sign, first + 3 * step)
#define QUANTS_16(sign, first, step) \
    QUANTS_4(sign, first, step), QUANTS_4(sign, first + 4 * step, step), QUANTS_4(sign, first + 8 * step, step), \
        QUANTS_4(sign, first + 12 * step, step)

// Of every byte.
static const uint16_t quant_parts[256] = {
    QUANTS_16(0, 0, 1),    QUANTS_16(0, 16, 1),   QUANTS_16(0, 32, 1),  QUANTS_16(0, 48, 1),
    QUANTS_16(0, 64, 1),   QUANTS_16(0, 80, 1),   QUANTS_16(0, 96, 1),  QUANTS_16(0, 112, 1),
    QUANTS_16(1, 128, -1), QUANTS_16(1, 112, -1), QUANTS_16(1, 96, -1), QUANTS_16(1, 80, -1),
    QUANTS_16(1, 64, -1),  QUANTS_16(1, 48, -1),  QUANTS_16(1, 32, -1), QUANTS_16(1, 16, -1),
};

// Read at run time: LLVM adds an address that it does not know to linear memory's base before a loop, one that it knows
// at each access.
static const uint16_t *const volatile quant_table = quant_parts;

// Of the magnitude of a scale, which is finite and not 0.
struct block_scale {
    uint32_t mantissa; // its leading bit is bit 17
    uint32_t exponent; // biased as in an f32, less one, which the leading bit of a fraction adds
};

static inline struct block_scale block_scale_of(uint32_t magnitude) {
    return (struct block_scale){((magnitude & 0x7fffff) | 0x800000) >> 6, (magnitude >> 23) - 1};
}

// The product of the magnitude with a quant. Had the scale been 0, only the sign is right.
static inline float block_element(struct block_scale scale, uint32_t parts) {
    uint32_t fraction = scale.mantissa * (parts >> 9); // its leading bit is bit 23 or 24, or it is 0
    uint32_t carry = fraction >> 24;
    fraction >>= carry;
    uint32_t exponent = (fraction >> 23) * scale.exponent + parts + carry; // with the sign, and more bits above
    return float_from_bits((exponent << 23) + fraction);
}

// From products with a scale's magnitude to those with the scale.
KERNEL_LOOP void q8_correct(float row[BLOCK], uint32_t kept, uint32_t sign) {
    for (uint32_t j = 0; j < BLOCK; j++) {
        row[j] = float_from_bits((float_bits(row[j]) & kept) ^ sign);
    }
}

KERNEL_LOOP void q8_load_row(float *row, const struct q8_block *blocks, uint32_t count) {
    const uint16_t *table = quant_table;
    for (uint32_t left = count / BLOCK; left != 0; left--, blocks++, row += BLOCK) {
        float scale = float_from_f16(blocks->scale);
        uint32_t sign = float_bits(scale) & 0x80000000;
        uint32_t magnitude = float_bits(scale) ^ sign;
        if (magnitude >= 0x7f800000) {
            for (uint32_t j = 0; j < BLOCK; j++) {
                row[j] = scale * (float)blocks->quants[j];
            }
            continue;
        }
        struct block_scale parts = block_scale_of(magnitude);
        for (uint32_t j = 0; j < BLOCK; j++) {
            row[j] = block_element(parts, table[(uint8_t)blocks->quants[j]]);
        }
        if ((int32_t)float_bits(scale) <= 0) {
            q8_correct(row, magnitude == 0 ? 0x80000000 : 0xffffffff, sign);
        }
    }
}

// The 16 values that an element of a block may have.
static inline void q4_values(float values[16], uint32_t half) {
    float scale = float_from_f16(half);
    uint32_t sign = float_bits(scale) & 0x80000000;
    uint32_t magnitude = float_bits(scale) ^ sign;
    bool ordinary = magnitude - 1 < 0x7f800000 - 1;
    struct block_scale parts = block_scale_of(magnitude);
    for (uint32_t quant = 0; quant <= 8; quant++) {
        uint32_t value = ordinary ? float_bits(block_element(parts, quant_parts[quant])) ^ sign
                                  : float_bits(scale * (float)quant);
        values[8 - quant] = float_from_bits(value ^ 0x80000000);
        if (quant < 8) {
            values[8 + quant] = float_from_bits(value); // of 0, this one
        }
    }
}

KERNEL_LOOP void q4_load_row(float *row, const struct q4_block *blocks, uint32_t count) {
    float values[16];
    for (uint32_t left = count / BLOCK; left != 0; left--, blocks++, row += BLOCK) {
        q4_values(values, blocks->scale);
        KERNEL_UNROLLED
        for (uint32_t j = 0; j < BLOCK / 2; j++) {
            uint32_t pair = blocks->quants[j];
            row[j] = values[pair & 15];
            row[j + BLOCK / 2] = values[pair >> 4];
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
