// IEEE 754 binary16 as storage: conversions from and to f32, in integers, so that they are the same everywhere.

#ifndef KERNEL_F16_H
#define KERNEL_F16_H

#include <stdint.h>

#include "kernel_math.h"

#define F16_INFINITE 0x7c00u
#define F16_NAN 0x7e00u

// Exact for every f16, denormals and infinities included; a NaN stays one.
static inline float float_from_f16(uint32_t half) {
    // The sign copied over bits 28 to 30, the exponent below it.
    uint32_t placed = (uint32_t)(int32_t)(int16_t)half << 13;
    if (((placed + (1u << 23)) & 0x0f000000) != 0) {
        // An exponent from 1 to 30: one more leaves some of its upper four bits.
        return float_from_bits((placed & 0x8fffffff) + (112u << 23));
    }
    uint32_t sign = (half & 0x8000) << 16;
    uint32_t magnitude = half & 0x7fff;
    if (magnitude >= F16_INFINITE) {
        uint32_t quiet = magnitude > F16_INFINITE ? 0x400000 : 0;
        return float_from_bits(sign | 0x7f800000 | quiet | (magnitude & 0x3ff) << 13);
    }
    return magnitude == 0 ? float_from_bits(sign) : float_from_parts(sign, magnitude, -24);
}

// Rounds to nearest, ties to even; every NaN becomes F16_NAN.
static inline uint16_t f16_from_float(float x) {
    uint32_t bits = float_bits(x);
    uint32_t sign = bits >> 16 & 0x8000;
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude - 0x38800000 < 0x47800000 - 0x38800000) {
        // From 2^-14 to below 2^16: what is beyond the largest f16 rounds up to infinity by itself.
        uint32_t odd = magnitude >> 13 & 1;
        return (uint16_t)(sign | (magnitude - (112u << 23) + 0xfff + odd) >> 13);
    }
    if (magnitude >= 0x47800000) {
        return (uint16_t)(magnitude > 0x7f800000 ? F16_NAN : sign | F16_INFINITE);
    }
    if (magnitude < 0x33000000) {
        return (uint16_t)sign; // below 2^-25, half of the least f16
    }
    uint32_t shift = 126 - (magnitude >> 23);
    uint32_t mantissa = (magnitude & 0x7fffff) | 0x800000;
    uint32_t odd = mantissa >> shift & 1;
    return (uint16_t)(sign | (mantissa + (1u << (shift - 1)) - 1 + odd) >> shift);
}

#endif
