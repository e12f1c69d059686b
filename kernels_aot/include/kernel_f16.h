// IEEE 754 binary16 as storage: conversions from and to f32, in integers but for one exact subtraction, so that they are
// the same everywhere.

#ifndef KERNEL_F16_H
#define KERNEL_F16_H

#include <stdbool.h>
#include <stdint.h>

#include "kernel_math.h"

#define F16_INFINITE 0x7c00u
#define F16_NAN 0x7e00u

// ---- ordinary values ----

// Whether an f16 is no zero, denormal, infinity or NaN: has an exponent of both zeros and ones, in which some bit
// differs from the next.
static inline bool f16_is_ordinary(uint32_t half) {
    return ((half ^ half << 1) & 0x7800) != 0;
}

static inline float float_from_ordinary_f16(uint32_t half) {
    // The sign copied over bits 28 to 30, the exponent below it.
    uint32_t placed = (uint32_t)(int32_t)(int16_t)half << 13;
    return float_from_bits((placed & 0x8fffffff) + (112u << 23));
}

// Whether x, from 2^-14 to below 2^16, becomes an ordinary f16 or rounds up to infinity.
static inline bool float_is_ordinary_f16(float x) {
    return (float_bits(x) << 1 >> 24) - 113 < 30;
}

static inline uint16_t f16_from_ordinary_float(float x) {
    uint32_t bits = float_bits(x);
    uint32_t odd = bits >> 13 & 1;
    return (uint16_t)((bits >> 16 & 0x8000) | (bits - (112u << 23) + 0xfff + odd) >> 13);
}

// ---- denormals, infinities and NaN ----

// Never inlined, so that a loop has its registers for ordinary values.
#define F16_RARE static __attribute__((noinline, unused))

F16_RARE float float_from_rare_f16(uint32_t half) {
    uint32_t sign = (half & 0x8000) << 16;
    uint32_t magnitude = half & 0x7fff;
    if (magnitude >= F16_INFINITE) {
        return float_from_bits((sign | magnitude << 13) + (224u << 23));
    }
    // The unit of denormals, 2^-24, is that of f32s from 0.5 on.
    return float_from_bits(sign | float_bits(float_from_bits(magnitude | 0x3f000000) - 0.5f));
}

F16_RARE uint16_t f16_from_rare_float(float x) {
    uint32_t sign = float_bits(x) >> 16 & 0x8000;
    uint32_t magnitude = float_bits(x) & 0x7fffffff;
    if (magnitude >= 0x47800000) {
        return (uint16_t)(magnitude > 0x7f800000 ? F16_NAN : sign | F16_INFINITE);
    }
    uint32_t shift = 126 - (magnitude >> 23);
    uint32_t mantissa = (magnitude & 0x7fffff) | 0x800000;
    uint32_t odd = mantissa >> shift & 1;
    return (uint16_t)(sign | (mantissa + (1u << (shift - 1)) - 1 + odd) >> shift);
}

// ---- any value ----

// Exact for every f16, denormals and infinities included; a NaN stays one.
static inline float float_from_f16(uint32_t half) {
    if (f16_is_ordinary(half)) {
        return float_from_ordinary_f16(half);
    }
    bool zero = half << 17 == 0;
    return zero ? float_from_bits(half << 16) : float_from_rare_f16(half);
}

// Rounds to nearest, ties to even; every NaN becomes F16_NAN.
static inline uint16_t f16_from_float(float x) {
    if (float_is_ordinary_f16(x)) {
        return f16_from_ordinary_float(x);
    }
    bool zero = float_bits(x) << 1 < 0x66000000; // below 2^-25, half of the least f16
    return zero ? float_bits(x) >> 16 & 0x8000 : f16_from_rare_float(x);
}

#endif
