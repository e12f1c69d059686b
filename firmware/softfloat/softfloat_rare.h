// What the assembly leaves to C, in flash: zeros, denormals, infinities, NaN, and results near the ends of the range. Each function
// is right for all operands.
#ifndef SOFTFLOAT_RARE_H
#define SOFTFLOAT_RARE_H

#include "softfloat.h"

sf_float sf_add_rare(sf_float a, sf_float b);
sf_float sf_mul_rare(sf_float a, sf_float b);
sf_float sf_div_rare(sf_float a, sf_float b);
sf_float sf_sqrt_rare(sf_float a);
int sf_lt_rare(sf_float a, sf_float b);
int sf_gt_rare(sf_float a, sf_float b);
int sf_le_rare(sf_float a, sf_float b);
int sf_ge_rare(sf_float a, sf_float b);
sf_float sf_from_f16_rare(uint32_t a);
uint32_t sf_to_f16_rare(sf_float a);

#endif
