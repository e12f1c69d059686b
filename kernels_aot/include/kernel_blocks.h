// GGUF's Q8_0 and Q4_0: blocks of 32 elements with one f16 scale. An element is its quant (for Q4_0, less 8) times the scale.
//
// What quantising gives for finite blocks is what the `gguf` package of PyPI gives, byte for byte. Beyond that it is defined
// here: a block with a NaN gets the scale NaN, one with an infinity the scale infinity; a block whose scale is so small that
// its reciprocal overflows has the scale 0. All quants of such blocks stand for 0.

#ifndef KERNEL_BLOCKS_H
#define KERNEL_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "kernel_abi.h"
#include "kernel_f16.h"

#define BLOCK 32

struct q8_block {
    uint16_t scale;
    int8_t quants[BLOCK];
};

struct q4_block {
    uint16_t scale;
    uint8_t quants[BLOCK / 2]; // low half: elements 0 to 15, high half: 16 to 31
};

_Static_assert(sizeof(struct q8_block) == 34 && sizeof(struct q4_block) == 18, "as in a GGUF file");

// Bytes of a row of `dim` elements, a multiple of BLOCK.
static inline uint32_t q8_row_size(uint32_t dim) {
    return kernel_product(dim / BLOCK, sizeof(struct q8_block));
}

static inline uint32_t q4_row_size(uint32_t dim) {
    return kernel_product(dim / BLOCK, sizeof(struct q4_block));
}

// 1 / scale, or 0 where quants stand for 0: the scale is 0, infinite or NaN, or its reciprocal is infinite.
static inline float block_reciprocal(float scale) {
    uint32_t magnitude = float_bits(scale) & 0x7fffffff;
    // The least float whose reciprocal is finite is just above 2^-128.
    return magnitude > 0x00200000 && magnitude < 0x7f800000 ? 1.0f / scale : 0.0f;
}

#endif
