// Angles of a position and the turning of a row, four pairs at a time, with the bits of portable/rope_row.h.

#ifndef ROPE_ROW_H
#define ROPE_ROW_H

#include "kernel_math_x4.h"
#include "rope_pairs.h"

#define ROPE_UNROLLED (4 * LANES) // pairs: eight vectors of elements

// Two vectors of elements of two words as one of their first and one of their second words, and back.
#define FIRST_WORDS(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6)
#define SECOND_WORDS(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7)
#define LOW_ELEMENTS(first, second) __builtin_shufflevector(first, second, 0, 4, 1, 5)
#define HIGH_ELEMENTS(first, second) __builtin_shufflevector(first, second, 2, 6, 3, 7)

// ---- angles ----

struct fraction64_x4 {
    u32x4 high;
    u32x4 low;
};

static inline struct fraction64_x4 fraction64_load_x4(const struct fraction64 *from) {
    u32x4 a = (u32x4)wasm_v128_load(from);
    u32x4 b = (u32x4)wasm_v128_load(from + 2);
    return (struct fraction64_x4){FIRST_WORDS(a, b), SECOND_WORDS(a, b)};
}

static inline void fraction64_store_x4(struct fraction64 *to, struct fraction64_x4 a) {
    wasm_v128_store(to, (v128_t)LOW_ELEMENTS(a.high, a.low));
    wasm_v128_store(to + 2, (v128_t)HIGH_ELEMENTS(a.high, a.low));
}

static inline struct fraction64_x4 fraction64_add_x4(struct fraction64_x4 a, struct fraction64_x4 b) {
    u32x4 low = a.low + b.low;
    return (struct fraction64_x4){a.high + b.high - (u32x4)(low < b.low), low};
}

struct cos_sin_x4 {
    f32x4 cos;
    f32x4 sin;
};

// cos_sin_of_turn; false, with no result, where an angle is within 2^-32 turns of a multiple of a quarter. For others
// `high`, the distance from that, is not 0 and can be normalised by itself.
static inline bool cos_sin_of_turn_x4(struct cos_sin_x4 *result, struct fraction64_x4 turn) {
    u32x4 quarter = (turn.high + 0x20000000) >> 30;
    u32x4 high = turn.high - (quarter << 30);
    u32x4 down = (u32x4)((i32x4)high >> 31);
    u32x4 low = (turn.low ^ down) - down;
    high = (high ^ down) - ((u32x4)(low == 0) & down);
    if (!wasm_i32x4_all_true((v128_t)high)) {
        return false;
    }
    u32x4 eighths = u32x4_select((i32x4)high >= 0x20000000, u32x4_splat(0xffffffff), high << 3 | low >> 29);
    u32x4 z = mul_high_x4(eighths, eighths);
    // 2^zeros of high, from its exponent as a float; without the second bit it cannot be rounded up to the next. The
    // product with it is a shift, for which mul_high is exact.
    u32x4 exponent = (u32x4)wasm_f32x4_convert_i32x4((v128_t)(high & ~(high >> 1))) & 0x7f800000;
    u32x4 shift = (u32x4)wasm_i32x4_trunc_sat_f32x4((v128_t)((284u << 23) - exponent)) << 1;
    u32x4 distance = high * shift | mul_high_x4(low, shift);
    u32x4 sine = mul_high_x4(distance, alternating_polynomial_x4(z, sin_coefficients, 3));
    u32x4 one_zero = (u32x4)((i32x4)sine >= 0);
    sine += sine & one_zero;
    sine = (down & 0x80000000) + exponent - (30u << 23) + (one_zero << 23) + (sine >> 8) + (sine >> 7 & 1);
    // From sqrt(1/2) to 1, in units of 2^-31: one zero, and for 1 what is right as well.
    u32x4 cosine = alternating_polynomial_x4(z, cos_coefficients, 4);
    cosine = (125u << 23) + (cosine >> 7) + (cosine >> 6 & 1);
    i32x4 odd = (i32x4)(quarter & 1) != 0;
    result->cos = (f32x4)(u32x4_select(odd, sine, cosine) ^ ((quarter + 1) << 30 & 0x80000000));
    result->sin = (f32x4)(u32x4_select(odd, cosine, sine) ^ (quarter << 30 & 0x80000000));
    return true;
}

static inline void next_four(struct cos_sin *row, struct fraction64 *turns, const struct fraction64 *steps) {
    struct cos_sin_x4 result;
    struct fraction64_x4 turn = fraction64_load_x4(turns);
    if (cos_sin_of_turn_x4(&result, turn)) {
        f32x4_store(&row[0].cos, LOW_ELEMENTS(result.cos, result.sin));
        f32x4_store(&row[2].cos, HIGH_ELEMENTS(result.cos, result.sin));
        fraction64_store_x4(turns, fraction64_add_x4(turn, fraction64_load_x4(steps)));
    } else {
        next_pairs(row, turns, steps, LANES);
    }
}

VECTOR_FUNCTION void next_row(
    struct cos_sin *row, struct fraction64 *turns, const struct fraction64 *steps, uint32_t half) {
    for (; half >= LANES; half -= LANES, row += LANES, turns += LANES, steps += LANES) {
        next_four(row, turns, steps);
    }
    next_pairs(row, turns, steps, half);
}

// ---- turning ----

static inline struct cos_sin_x4 cos_sin_load_x4(const struct cos_sin *row) {
    f32x4 a = f32x4_load(&row[0].cos);
    f32x4 b = f32x4_load(&row[2].cos);
    return (struct cos_sin_x4){FIRST_WORDS(a, b), SECOND_WORDS(a, b)};
}

static inline void turn_interleaved(float *y, const float *x, const struct cos_sin *row) {
    f32x4 low = f32x4_load(x);
    f32x4 high = f32x4_load(x + LANES);
    f32x4 a = FIRST_WORDS(low, high);
    f32x4 b = SECOND_WORDS(low, high);
    struct cos_sin_x4 angle = cos_sin_load_x4(row);
    f32x4 y_a = a * angle.cos - b * angle.sin;
    f32x4 y_b = a * angle.sin + b * angle.cos;
    f32x4_store(y, LOW_ELEMENTS(y_a, y_b));
    f32x4_store(y + LANES, HIGH_ELEMENTS(y_a, y_b));
}

static inline void turn_halves(float *y, const float *x, const struct cos_sin *row, uint32_t distance) {
    f32x4 a = f32x4_load(x);
    f32x4 b = f32x4_load(x + distance);
    struct cos_sin_x4 angle = cos_sin_load_x4(row);
    f32x4_store(y, a * angle.cos - b * angle.sin);
    f32x4_store(y + distance, a * angle.sin + b * angle.cos);
}

VECTOR_FUNCTION void rotate_interleaved(float *y, const float *x, const struct cos_sin *row, uint32_t half) {
    for (; half >= ROPE_UNROLLED;
         half -= ROPE_UNROLLED, y += 2 * ROPE_UNROLLED, x += 2 * ROPE_UNROLLED, row += ROPE_UNROLLED) {
        UNROLLED
        for (uint32_t i = 0; i < ROPE_UNROLLED; i += LANES) {
            turn_interleaved(y + 2 * i, x + 2 * i, row + i);
        }
    }
    for (; half >= LANES; half -= LANES, y += 2 * LANES, x += 2 * LANES, row += LANES) {
        turn_interleaved(y, x, row);
    }
    rotate_pairs(y, x, row, half, 2, 1);
}

VECTOR_FUNCTION void rotate_halves(float *y, const float *x, const struct cos_sin *row, uint32_t half) {
    uint32_t distance = half;
    for (; half >= ROPE_UNROLLED; half -= ROPE_UNROLLED, y += ROPE_UNROLLED, x += ROPE_UNROLLED, row += ROPE_UNROLLED) {
        UNROLLED
        for (uint32_t i = 0; i < ROPE_UNROLLED; i += LANES) {
            turn_halves(y + i, x + i, row + i, distance);
        }
    }
    for (; half >= LANES; half -= LANES, y += LANES, x += LANES, row += LANES) {
        turn_halves(y, x, row, distance);
    }
    rotate_pairs(y, x, row, half, 1, distance);
}

#endif
