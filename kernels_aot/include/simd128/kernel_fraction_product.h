// Products of fractions in words of two limbs, for processors that multiply 32 bits to 64: a third of the products, and
// the same bits.

#ifndef KERNEL_FRACTION_PRODUCT_H
#define KERNEL_FRACTION_PRODUCT_H

// a * b without the products of limbs i and j for i + j < 4, rounded down.
FRACTION_INLINE struct fraction fraction_product(struct fraction a, struct fraction b) {
    const uint32_t *x = a.word, *y = b.word;
    // Of limbs 4 and 5 together. The first sum is exact: at most (2^32 - 1)^2 + 2 * (2^16 - 1)^2.
    uint64_t middle = (uint64_t)x[1] * y[1];
    middle += (uint64_t)(x[0] >> 16) * (y[1] >> 16) + (uint64_t)(x[1] >> 16) * (y[0] >> 16);
    uint64_t left = (uint64_t)x[2] * y[0];
    uint64_t right = (uint64_t)x[0] * y[2];
    uint64_t column = ((uint64_t)(uint32_t)middle + (uint32_t)left + (uint32_t)right) >> 32;
    column += (middle >> 32) + (left >> 32) + (right >> 32);
    left = (uint64_t)x[2] * y[1];
    right = (uint64_t)x[1] * y[2];
    column += (uint64_t)(uint32_t)left + (uint32_t)right;
    uint32_t low = (uint32_t)column;
    column = (column >> 32) + (left >> 32) + (right >> 32) + (uint64_t)x[2] * y[2];
    return (struct fraction){{low, (uint32_t)column, (uint32_t)(column >> 32)}};
}

// a * factor mod 1, exact.
FRACTION_INLINE struct fraction fraction_scale(struct fraction a, uint32_t factor) {
    uint64_t low = (uint64_t)a.word[0] * factor;
    uint64_t middle = (uint64_t)a.word[1] * factor + (low >> 32);
    return (struct fraction){{(uint32_t)low, (uint32_t)middle, a.word[2] * factor + (uint32_t)(middle >> 32)}};
}

#endif
