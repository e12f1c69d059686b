// Rare operands, digit by digit: short rather than fast. No division and no 64-bit arithmetic, which the Pico SDK does with the SIO
// divider and in the boot ROM.
#include "softfloat_rare.h"

#include <stdbool.h>

#define SIGN (0x80000000u)
#define INFINITE (0x7f800000u)
#define QUIET (0x00400000u)
#define NAN_CANONICAL (0x7fc00000u)
#define HIDDEN (0x00800000u)

static bool is_nan(sf_float a) {
    return a << 1 > INFINITE << 1;
}

static bool is_infinite(sf_float a) {
    return a << 1 == INFINITE << 1;
}

static bool is_zero(sf_float a) {
    return a << 1 == 0;
}

// A finite number other than 0: fraction * 2^(exponent - 150), where fraction has its top bit at HIDDEN.
struct number {
    int32_t exponent;
    uint32_t fraction;
};

static struct number unpack(sf_float a) {
    struct number number = { (int32_t)(a >> 23 & 0xff), a & (HIDDEN - 1) };
    if (number.exponent != 0) {
        number.fraction |= HIDDEN;
        return number;
    }
    for (number.exponent = 1; !(number.fraction & HIDDEN); number.exponent--) {
        number.fraction <<= 1;
    }
    return number;
}

// `a` >> `count`, with the last bit set if any bit that was lost was.
static uint32_t shift_sticky(uint32_t a, int32_t count) {
    if (count > 31) {
        return a != 0;
    }
    return a >> count | ((a & ((1u << count) - 1)) != 0);
}

// The float nearest to fraction * 2^(exponent - 157), where fraction has its top bit at bit 30 and its last bit may be sticky.
static sf_float pack(uint32_t sign, int32_t exponent, uint32_t fraction) {
    if (exponent >= 255) {
        return sign | INFINITE;
    }
    if (exponent < 1) {
        fraction = shift_sticky(fraction, 1 - exponent);
        exponent = 1;
    }
    uint32_t rest = fraction & 0x7f;
    fraction >>= 7;
    fraction += rest > 0x40 || (rest == 0x40 && (fraction & 1));
    return sign | (((uint32_t)(exponent - 1) << 23) + fraction); // the hidden bit, if there is one, makes the exponent right
}

sf_float sf_add_rare(sf_float a, sf_float b) {
    if (a << 1 < b << 1) {
        sf_float larger = b;
        b = a;
        a = larger;
    }
    uint32_t sign = a & SIGN;
    bool differ = (a ^ b) & SIGN;
    if (is_nan(a) || (differ && is_infinite(a) && is_infinite(b))) {
        return NAN_CANONICAL;
    }
    if (is_infinite(a)) {
        return a;
    }
    if (is_zero(b)) {
        return is_zero(a) ? a & b : a;
    }
    struct number x = unpack(a), y = unpack(b);
    uint32_t fraction = x.fraction << 7, other = shift_sticky(y.fraction << 7, x.exponent - y.exponent);
    if (!differ) {
        fraction += other;
        if (fraction & SIGN) {
            return pack(sign, x.exponent + 1, shift_sticky(fraction, 1));
        }
        return pack(sign, x.exponent, fraction);
    }
    fraction -= other;
    if (fraction == 0) {
        return 0;
    }
    // The last bit can be sticky only if at most one shift is needed.
    for (; !(fraction & SIGN >> 1); x.exponent--) {
        fraction <<= 1;
    }
    return pack(sign, x.exponent, fraction);
}

sf_float sf_mul_rare(sf_float a, sf_float b) {
    uint32_t sign = (a ^ b) & SIGN;
    if (is_nan(a) || is_nan(b) || (is_infinite(a) && is_zero(b)) || (is_zero(a) && is_infinite(b))) {
        return NAN_CANONICAL;
    }
    if (is_infinite(a) || is_infinite(b)) {
        return sign | INFINITE;
    }
    if (is_zero(a) || is_zero(b)) {
        return sign;
    }
    struct number x = unpack(a), y = unpack(b);
    uint32_t low = (x.fraction & 0xfff) * (y.fraction & 0xfff);
    uint32_t middle = (x.fraction >> 12) * (y.fraction & 0xfff) + (x.fraction & 0xfff) * (y.fraction >> 12) + (low >> 12);
    uint32_t high = (x.fraction >> 12) * (y.fraction >> 12) + (middle >> 12);
    uint32_t rest = (middle & 0xfff) << 12 | (low & 0xfff); // product = high * 2^24 + rest
    uint32_t fraction = high << 7 | rest >> 17 | ((rest & 0x1ffff) != 0);
    int32_t exponent = x.exponent + y.exponent - 126;
    if (!(fraction & SIGN >> 1)) {
        fraction = high << 8 | rest >> 16 | ((rest & 0xffff) != 0);
        exponent--;
    }
    return pack(sign, exponent, fraction);
}

sf_float sf_div_rare(sf_float a, sf_float b) {
    uint32_t sign = (a ^ b) & SIGN;
    if (is_nan(a) || is_nan(b) || (is_infinite(a) && is_infinite(b)) || (is_zero(a) && is_zero(b))) {
        return NAN_CANONICAL;
    }
    if (is_infinite(a) || is_zero(b)) {
        return sign | INFINITE;
    }
    if (is_zero(a) || is_infinite(b)) {
        return sign;
    }
    struct number x = unpack(a), y = unpack(b);
    int32_t exponent = x.exponent - y.exponent + 127;
    if (x.fraction < y.fraction) {
        x.fraction <<= 1;
        exponent--;
    }
    uint32_t quotient = 0, rest = x.fraction;
    for (int bit = 0; bit < 31; bit++) {
        quotient <<= 1;
        if (rest >= y.fraction) {
            rest -= y.fraction;
            quotient |= 1;
        }
        rest <<= 1;
    }
    return pack(sign, exponent, quotient | (rest != 0));
}

sf_float sf_sqrt_rare(sf_float a) {
    if (is_zero(a) || a == INFINITE) {
        return a;
    }
    if (is_nan(a) || a & SIGN) {
        return NAN_CANONICAL;
    }
    struct number x = unpack(a);
    // The fraction as a multiple of 2^-24 in [1, 4); a root of 24 digits and the half.
    uint32_t rest = x.fraction << (x.exponent & 1 ? 1 : 2), root = 0, sum = 0;
    for (uint32_t bit = 1u << 24; bit != 0; bit >>= 1) {
        uint32_t trial = sum + bit;
        if (trial <= rest) {
            sum = trial + bit;
            rest -= trial;
            root += bit;
        }
        rest <<= 1;
    }
    return pack(0, (x.exponent + 127) >> 1, root << 6 | (rest != 0));
}

// Orders all floats but NaN, with one zero.
static int32_t order(sf_float a) {
    return a & SIGN ? -(int32_t)(a & ~SIGN) : (int32_t)a;
}

int sf_lt_rare(sf_float a, sf_float b) {
    return !is_nan(a) && !is_nan(b) && order(a) < order(b);
}

int sf_gt_rare(sf_float a, sf_float b) {
    return sf_lt_rare(b, a);
}

int sf_le_rare(sf_float a, sf_float b) {
    return !is_nan(a) && !is_nan(b) && order(a) <= order(b);
}

int sf_ge_rare(sf_float a, sf_float b) {
    return sf_le_rare(b, a);
}

sf_float sf_from_f16_rare(uint32_t a) {
    uint32_t sign = (a & 0x8000) << 16, magnitude = a & 0x7fff;
    if (magnitude == 0) {
        return sign;
    }
    if (magnitude >= 0x7c00) {
        return sign | INFINITE | (magnitude == 0x7c00 ? 0 : QUIET | (magnitude & 0x3ff) << 13);
    }
    if (magnitude >= 0x400) {
        return sign | ((magnitude << 13) + (112u << 23));
    }
    int32_t exponent = 113;
    for (; !(magnitude & 0x400); exponent--) {
        magnitude <<= 1;
    }
    return sign | (((uint32_t)(exponent - 1) << 23) + (magnitude << 13));
}

uint32_t sf_to_f16_rare(sf_float a) {
    uint32_t sign = a >> 16 & 0x8000;
    int32_t exponent = (int32_t)(a >> 23 & 0xff) - 112;
    if (is_nan(a)) {
        return sign | 0x7e00 | (a >> 13 & 0x3ff);
    }
    if (exponent >= 31) {
        return sign | 0x7c00;
    }
    uint32_t fraction = (a & (HIDDEN - 1)) | HIDDEN; // a float's denormals are far below the half of the least
    if (exponent < 1) {
        fraction = shift_sticky(fraction, 1 - exponent);
        exponent = 1;
    }
    uint32_t rest = fraction & 0x1fff;
    fraction >>= 13;
    fraction += rest > 0x1000 || (rest == 0x1000 && (fraction & 1));
    return sign | (((uint32_t)(exponent - 1) << 10) + fraction);
}
