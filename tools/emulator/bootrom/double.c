// Double-precision functions of the boot ROM; see float.c for their conventions.
#include <stdbool.h>
#include <stdint.h>

#define SIGN 0x8000000000000000ull
#define EXPONENT 0x7ff0000000000000ull
#define FRACTION 0x000fffffffffffffull
#define BIAS 1023
#define FRACTION_BITS 52

typedef union {
    double value;
    uint64_t bits;
} pair;

typedef union {
    float value;
    uint32_t bits;
} single;

static uint64_t flush(uint64_t bits) {
    return (bits & EXPONENT) ? bits : (bits & SIGN);
}

static double in(uint64_t bits) {
    return (pair) { .bits = flush(bits) }.value;
}

static uint64_t out(double value) {
    return flush((pair) { .value = value }.bits);
}

uint64_t double_add(uint64_t a, uint64_t b) {
    return out(in(a) + in(b));
}

uint64_t double_subtract(uint64_t a, uint64_t b) {
    return out(in(a) - in(b));
}

uint64_t double_multiply(uint64_t a, uint64_t b) {
    return out(in(a) * in(b));
}

uint64_t double_divide(uint64_t a, uint64_t b) {
    return out(in(a) / in(b));
}

uint64_t double_from_int(int32_t a) {
    return out((double)a);
}

uint64_t double_from_uint(uint32_t a) {
    return out((double)a);
}

uint64_t double_from_int64(int64_t a) {
    return out((double)a);
}

uint64_t double_from_uint64(uint64_t a) {
    return out((double)a);
}

static int exponent(uint64_t bits) {
    return (int)((bits & EXPONENT) >> FRACTION_BITS);
}

static uint64_t magnitude(uint64_t bits, bool *inexact) {
    int shift = exponent(bits) - BIAS - FRACTION_BITS;
    uint64_t significand = (bits & FRACTION) | (FRACTION + 1);
    *inexact = false;
    if (exponent(bits) == 0) {
        return 0;
    }
    if (shift > 63 - FRACTION_BITS) {
        return UINT64_MAX;
    }
    if (shift >= 0) {
        return significand << shift;
    }
    if (shift < -FRACTION_BITS) {
        *inexact = true;
        return 0;
    }
    *inexact = (significand & ((1ull << -shift) - 1)) != 0;
    return significand >> -shift;
}

int64_t double_to_int64(uint64_t bits) {
    bool inexact;
    uint64_t value = magnitude(bits, &inexact);
    if (bits & SIGN) {
        return value >= (uint64_t)INT64_MAX ? INT64_MIN : -(int64_t)(value + inexact);
    }
    return value > INT64_MAX ? INT64_MAX : (int64_t)value;
}

uint64_t double_to_uint64(uint64_t bits) {
    bool inexact;
    return (bits & SIGN) ? 0 : magnitude(bits, &inexact);
}

int32_t double_to_int(uint64_t bits) {
    int64_t value = double_to_int64(bits);
    return value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (int32_t)value;
}

uint32_t double_to_uint(uint64_t bits) {
    uint64_t value = double_to_uint64(bits);
    return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

uint32_t double_to_float(uint64_t bits) {
    uint32_t result = (single) { .value = (float)in(bits) }.bits;
    return (result & 0x7f800000u) ? result : (result & 0x80000000u);
}

// Correctly rounded, two bits of the operand for one of the root; a tie cannot occur.
uint64_t double_sqrt(uint64_t bits) {
    bits = flush(bits);
    if ((bits & ~SIGN) == 0) {
        return bits;
    }
    if (bits & SIGN) {
        return SIGN | EXPONENT;
    }
    if (exponent(bits) == 2047) {
        return bits;
    }
    int half = exponent(bits) - BIAS;
    uint64_t significand = (bits & FRACTION) | (FRACTION + 1);
    significand <<= (half & 1) + 10;
    half >>= 1;
    uint64_t root = 0, remainder = 0;
    for (int i = 0; i <= FRACTION_BITS + 1; i++) {
        uint64_t trial = (root << 2) | 1;
        remainder = (remainder << 2) | (significand >> 62);
        significand <<= 2;
        root <<= 1;
        if (remainder >= trial) {
            remainder -= trial;
            root |= 1;
        }
    }
    return ((uint64_t)(half + BIAS - 1) << FRACTION_BITS) + ((root + 1) >> 1);
}
