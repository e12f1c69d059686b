// Monocypher's own check takes other encodings of a point, points of small order, and an equation that holds times 8 only.
// Its arithmetic is all here, but it keeps it to itself: hence its source and not its header.
#include "monocypher.c"

#include "ed25519.h"
#include "monocypher-ed25519.h"

#define SIZE (32) // of a point or a scalar, encoded
#define WINDOW (4) // bits; one more costs as much for more multiples as it saves
#define MULTIPLES (1 << (WINDOW - 2))

// The point is one of the eight that eight times give the neutral element: four times it has x = 0.
static bool small_order(const ge *point) {
    static const fe zero = { 0 };
    ge multiple = *point, scratch;
    ge_double(&multiple, &multiple, &scratch);
    ge_double(&multiple, &multiple, &scratch);
    return fe_isequal(multiple.X, zero);
}

// Minus the point that is encoded. False unless its y is below the field's prime and on the curve. The one encoding that this
// leaves with two forms, of x = 0, is of small order.
static bool decode_minus(ge *point, const uint8_t encoded[SIZE]) {
    uint8_t canonical[SIZE];
    fe y;
    fe_frombytes(y, encoded);
    fe_tobytes(canonical, y);
    canonical[SIZE - 1] |= encoded[SIZE - 1] & 0x80; // the sign of x
    return crypto_verify32(canonical, encoded) == 0 && ge_frombytes_neg_vartime(point, encoded) == 0;
}

static void hash(uint8_t h[SIZE], const uint8_t r[SIZE], const uint8_t public_key[SIZE], const uint8_t *message, uint32_t size) {
    crypto_sha512_ctx context;
    uint8_t digest[64];
    crypto_sha512_init(&context);
    crypto_sha512_update(&context, r, SIZE);
    crypto_sha512_update(&context, public_key, SIZE);
    crypto_sha512_update(&context, message, size);
    crypto_sha512_final(&context, digest);
    crypto_eddsa_reduce(h, digest);
}

// [s]B + [h]P, both scalars below the group's order. In variable time: nothing here is secret.
static void combine(ge *sum, const uint8_t s[SIZE], const uint8_t h[SIZE], const ge *point) {
    ge_cached multiples[MULTIPLES]; // P, 3P, ...
    ge twice, scratch;
    fe a, b;
    ge_double(&twice, point, &scratch);
    ge_cache(&multiples[0], point);
    for (int i = 1; i < MULTIPLES; i++) {
        ge_add(&scratch, &twice, &multiples[i - 1]);
        ge_cache(&multiples[i], &scratch);
    }
    slide_ctx h_slide, s_slide;
    slide_init(&h_slide, h);
    slide_init(&s_slide, s);
    ge_zero(sum);
    for (int i = MAX(h_slide.next_check, s_slide.next_check); i >= 0; i--) {
        ge_double(sum, sum, &scratch);
        int of_h = slide_step(&h_slide, WINDOW, i, h), of_s = slide_step(&s_slide, B_W_WIDTH, i, s);
        if (of_h > 0) {
            ge_add(sum, sum, &multiples[of_h / 2]);
        } else if (of_h < 0) {
            ge_sub(sum, sum, &multiples[-of_h / 2]);
        }
        if (of_s > 0) {
            ge_madd(sum, sum, &b_window[of_s / 2], a, b);
        } else if (of_s < 0) {
            ge_msub(sum, sum, &b_window[-of_s / 2], a, b);
        }
    }
}

bool ed25519_check(const uint8_t signature[64], const uint8_t public_key[32], const uint8_t *message, uint32_t size) {
    const uint8_t *r = signature, *s = signature + SIZE;
    uint8_t h[SIZE], computed[SIZE];
    uint32_t words[SIZE / 4];
    ge minus_key, sum;
    load32_le_buf(words, s, SIZE / 4);
    if (is_above_l(words) || !decode_minus(&minus_key, public_key) || small_order(&minus_key)) {
        return false;
    }
    hash(h, r, public_key, message, size);
    combine(&sum, s, h, &minus_key);
    // R is compared as bytes, so only its canonical encoding is right.
    ge_tobytes(computed, &sum);
    return crypto_verify32(computed, r) == 0 && !small_order(&sum);
}
