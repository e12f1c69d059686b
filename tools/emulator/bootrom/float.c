// Single-precision functions of the boot ROM: the compiler's IEEE arithmetic, with denormal operands and results taken as
// zero of their sign, as the data sheet says of the chip's ROM. Arguments and results are bit patterns in integer registers.
#include <stdbool.h>
#include <stdint.h>

#define SIGN 0x80000000u
#define EXPONENT 0x7f800000u
#define FRACTION 0x007fffffu
#define BIAS 127
#define FRACTION_BITS 23

typedef union {
    float value;
    uint32_t bits;
} single;

static uint32_t flush(uint32_t bits) {
    return (bits & EXPONENT) ? bits : (bits & SIGN);
}

static float in(uint32_t bits) {
    return (single) { .bits = flush(bits) }.value;
}

static uint32_t out(float value) {
    return flush((single) { .value = value }.bits);
}

uint32_t float_add(uint32_t a, uint32_t b) {
    return out(in(a) + in(b));
}

uint32_t float_subtract(uint32_t a, uint32_t b) {
    return out(in(a) - in(b));
}

uint32_t float_multiply(uint32_t a, uint32_t b) {
    return out(in(a) * in(b));
}

uint32_t float_divide(uint32_t a, uint32_t b) {
    return out(in(a) / in(b));
}

uint32_t float_from_int(int32_t a) {
    return out((float)a);
}

uint32_t float_from_uint(uint32_t a) {
    return out((float)a);
}

uint32_t float_from_int64(int64_t a) {
    return out((float)a);
}

uint32_t float_from_uint64(uint64_t a) {
    return out((float)a);
}

static int exponent(uint32_t bits) {
    return (int)((bits & EXPONENT) >> FRACTION_BITS);
}

// The magnitude's integer part, saturated to 64 bits; *inexact tells whether a fraction was cut off.
static uint64_t magnitude(uint32_t bits, bool *inexact) {
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

// The conversions to integers round towards minus infinity and saturate.
int64_t float_to_int64(uint32_t bits) {
    bool inexact;
    uint64_t value = magnitude(bits, &inexact);
    if (bits & SIGN) {
        return value >= (uint64_t)INT64_MAX ? INT64_MIN : -(int64_t)(value + inexact);
    }
    return value > INT64_MAX ? INT64_MAX : (int64_t)value;
}

uint64_t float_to_uint64(uint32_t bits) {
    bool inexact;
    return (bits & SIGN) ? 0 : magnitude(bits, &inexact);
}

int32_t float_to_int(uint32_t bits) {
    int64_t value = float_to_int64(bits);
    return value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (int32_t)value;
}

uint32_t float_to_uint(uint32_t bits) {
    uint64_t value = float_to_uint64(bits);
    return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

uint64_t float_to_double(uint32_t bits) {
    uint64_t sign = (uint64_t)(bits & SIGN) << 32, fraction = (uint64_t)(bits & FRACTION) << 29;
    switch (exponent(bits)) {
        case 0:
            return sign;
        case 255:
            return sign | (0x7ffull << 52) | fraction;
        default:
            return sign | ((uint64_t)(exponent(bits) - BIAS + 1023) << 52) | fraction;
    }
}

// Correctly rounded, one bit of the root at a time; a tie cannot occur.
uint32_t float_sqrt(uint32_t bits) {
    bits = flush(bits);
    if ((bits & ~SIGN) == 0) {
        return bits;
    }
    if (bits & SIGN) {
        return SIGN | EXPONENT;
    }
    if (exponent(bits) == 255) {
        return bits;
    }
    int half = exponent(bits) - BIAS;
    uint64_t significand = (bits & FRACTION) | (FRACTION + 1);
    significand <<= (half & 1) + 25;
    half >>= 1;
    uint64_t root = 0;
    for (uint64_t bit = 1ull << 24; bit; bit >>= 1) {
        if ((root | bit) * (root | bit) <= significand) {
            root |= bit;
        }
    }
    uint32_t rounded = (uint32_t)((root + 1) >> 1);
    return ((uint32_t)(half + BIAS - 1) << FRACTION_BITS) + rounded;
}
