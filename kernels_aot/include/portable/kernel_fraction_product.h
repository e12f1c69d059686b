// Products of fractions, limb by limb; simd128/kernel_fraction_product.h takes two limbs at a time.

#ifndef KERNEL_FRACTION_PRODUCT_H
#define KERNEL_FRACTION_PRODUCT_H

FRACTION_INLINE void fraction_limbs(uint32_t *limb, struct fraction a) {
    FRACTION_UNROLLED
    for (int i = 0; i < FRACTION_WORDS; i++) {
        limb[2 * i] = a.word[i] & 0xffff;
        limb[2 * i + 1] = a.word[i] >> 16;
    }
}

// Sums of halves of products with the same weight: they cannot overflow, and no compiler makes a wide multiply of them.
struct fraction_column {
    uint32_t low;
    uint32_t high;
};

FRACTION_INLINE void fraction_column_add(struct fraction_column *column, uint32_t a, uint32_t b) {
    uint32_t product = a * b;
    column->low += product & 0xffff;
    column->high += product >> 16;
}

// The column's limb; the column becomes what is carried to the next.
FRACTION_INLINE uint32_t fraction_column_next(struct fraction_column *column) {
    uint32_t limb = column->low & 0xffff;
    *column = (struct fraction_column){column->high + (column->low >> 16), 0};
    return limb;
}

// a * b without the products of limbs i and j for i + j < 4, rounded down: at most one unit of 2^-96 less than all would
// give.
FRACTION_INLINE struct fraction fraction_product(struct fraction a, struct fraction b) {
    uint32_t limb_a[FRACTION_LIMBS], limb_b[FRACTION_LIMBS], limb[2 * FRACTION_LIMBS];
    fraction_limbs(limb_a, a);
    fraction_limbs(limb_b, b);
    struct fraction_column column = {0, 0};
    FRACTION_UNROLLED
    for (int k = 4; k <= 10; k++) {
        FRACTION_UNROLLED
        for (int i = 0; i < FRACTION_LIMBS; i++) {
            if (i <= k && k - i < FRACTION_LIMBS) {
                fraction_column_add(&column, limb_a[i], limb_b[k - i]);
            }
        }
        limb[k] = fraction_column_next(&column);
    }
    return (struct fraction){{limb[7] << 16 | limb[6], limb[9] << 16 | limb[8], column.low << 16 | limb[10]}};
}

// a * factor mod 1, exact.
FRACTION_INLINE struct fraction fraction_scale(struct fraction a, uint32_t factor) {
    uint32_t limb_a[FRACTION_LIMBS], limb[FRACTION_LIMBS];
    fraction_limbs(limb_a, a);
    struct fraction_column column = {0, 0};
    FRACTION_UNROLLED
    for (int i = 0; i < FRACTION_LIMBS; i++) {
        fraction_column_add(&column, limb_a[i], factor & 0xffff);
        if (i > 0) {
            fraction_column_add(&column, limb_a[i - 1], factor >> 16);
        }
        limb[i] = fraction_column_next(&column);
    }
    return (struct fraction){{limb[1] << 16 | limb[0], limb[3] << 16 | limb[2], limb[5] << 16 | limb[4]}};
}

#endif
