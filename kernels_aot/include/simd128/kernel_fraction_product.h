// The product of fractions in words of two limbs, for processors that multiply 32 bits to 64: a quarter of the products.
// Both round the same exact product down.

#ifndef KERNEL_FRACTION_PRODUCT_H
#define KERNEL_FRACTION_PRODUCT_H

#define FRACTION_WORDS (FRACTION_LIMBS / 2)

static inline uint32_t fraction_word(const struct fraction *a, int i) {
    return a->limb[2 * i] | a->limb[2 * i + 1] << 16;
}

// a * b, rounded down.
FRACTION_FUNCTION void fraction_multiply(struct fraction *out, const struct fraction *a, const struct fraction *b) {
    uint32_t sum[FRACTION_WORDS] = {0};
    for (int j = 0; j < FRACTION_WORDS; j++) {
        // sum = (sum + a * word j of b) >> 32
        uint64_t column = sum[0] + (uint64_t)fraction_word(a, 0) * fraction_word(b, j);
        for (int i = 1; i < FRACTION_WORDS; i++) {
            column = (column >> 32) + sum[i] + (uint64_t)fraction_word(a, i) * fraction_word(b, j);
            sum[i - 1] = (uint32_t)column;
        }
        sum[FRACTION_WORDS - 1] = (uint32_t)(column >> 32);
    }
    for (int i = 0; i < FRACTION_WORDS; i++) {
        out->limb[2 * i] = sum[i] & 0xffff;
        out->limb[2 * i + 1] = sum[i] >> 16;
    }
}

#endif
