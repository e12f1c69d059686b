// softfloat.h by the compiler's own arithmetic: for processors with an FPU, and for those whose compiler has exact soft floats. Which
// NaN comes out is the processor's choice, as WebAssembly allows.
//
// Compiled without contraction: a multiply-add with one rounding would give other bits.
#include "softfloat.h"

static inline float number(sf_float bits) {
    union { sf_float bits; float number; } of = { .bits = bits };
    return of.number;
}

static inline sf_float bits(float number) {
    union { float number; sf_float bits; } of = { .number = number };
    return of.bits;
}

sf_float sf_add(sf_float a, sf_float b) {
    return bits(number(a) + number(b));
}

sf_float sf_sub(sf_float a, sf_float b) {
    return bits(number(a) - number(b));
}

sf_float sf_mul(sf_float a, sf_float b) {
    return bits(number(a) * number(b));
}

sf_float sf_div(sf_float a, sf_float b) {
    return bits(number(a) / number(b));
}

sf_float sf_sqrt(sf_float a) {
    return bits(__builtin_sqrtf(number(a)));
}

int sf_eq(sf_float a, sf_float b) {
    return number(a) == number(b);
}

int sf_ne(sf_float a, sf_float b) {
    return number(a) != number(b);
}

int sf_lt(sf_float a, sf_float b) {
    return number(a) < number(b);
}

int sf_gt(sf_float a, sf_float b) {
    return number(a) > number(b);
}

int sf_le(sf_float a, sf_float b) {
    return number(a) <= number(b);
}

int sf_ge(sf_float a, sf_float b) {
    return number(a) >= number(b);
}

int sf_unordered(sf_float a, sf_float b) {
    return __builtin_isunordered(number(a), number(b));
}

int sf_compare(enum sf_condition condition, sf_float a, sf_float b) {
    switch (condition) {
        case SF_EQ:
            return sf_eq(a, b);
        case SF_NE:
            return sf_ne(a, b);
        case SF_LT:
            return sf_lt(a, b);
        case SF_GT:
            return sf_gt(a, b);
        case SF_LE:
            return sf_le(a, b);
        case SF_GE:
            return sf_ge(a, b);
        default:
            return sf_unordered(a, b);
    }
}

sf_float sf_from_i32(int32_t a) {
    return bits((float)a);
}

sf_float sf_from_u32(uint32_t a) {
    return bits((float)a);
}

int32_t sf_to_i32(sf_float a) {
    return (int32_t)number(a);
}

uint32_t sf_to_u32(sf_float a) {
    return (uint32_t)number(a);
}

uint32_t sf_clz(uint32_t a) {
    return a == 0 ? 32 : (uint32_t)__builtin_clz(a);
}
