// The product of fractions, limb by limb; simd128/kernel_fraction_product.h takes two limbs at a time.

#ifndef KERNEL_FRACTION_PRODUCT_H
#define KERNEL_FRACTION_PRODUCT_H

// a * b, rounded down.
FRACTION_FUNCTION void fraction_multiply(struct fraction *out, const struct fraction *a, const struct fraction *b) {
    struct fraction sum = {{0}};
    for (int j = 0; j < FRACTION_LIMBS; j++) {
        // sum = (sum + a * b.limb[j]) >> 16
        uint32_t carry = (sum.limb[0] + a->limb[0] * b->limb[j]) >> 16;
        for (int i = 1; i < FRACTION_LIMBS; i++) {
            uint32_t column = sum.limb[i] + a->limb[i] * b->limb[j] + carry;
            sum.limb[i - 1] = column & 0xffff;
            carry = column >> 16;
        }
        sum.limb[FRACTION_LIMBS - 1] = carry;
    }
    *out = sum;
}

#endif
