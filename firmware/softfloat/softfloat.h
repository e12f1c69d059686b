// Single precision arithmetic on bit patterns for processors without an FPU, divider or long multiply: IEEE 754 binary32, round to
// nearest even, denormals kept. Exact: docs/softfloat.md says how that is proved. Any NaN that arithmetic makes is 0x7fc00000.
//
// Pure functions of r0 and r1 (r0 to r3, r12 and the flags are lost): nothing is kept in memory and no peripheral is used, so a call
// may be interrupted, nested, or abandoned at any instruction.
#ifndef SOFTFLOAT_H
#define SOFTFLOAT_H

#include <stdint.h>

typedef uint32_t sf_float; // the bits of a float: what the soft-float ABI passes

sf_float sf_add(sf_float a, sf_float b);
sf_float sf_sub(sf_float a, sf_float b);
sf_float sf_mul(sf_float a, sf_float b);
sf_float sf_div(sf_float a, sf_float b);
sf_float sf_sqrt(sf_float a);

// 1 or 0. -0 equals +0; with a NaN all but sf_ne and sf_unordered are 0.
int sf_eq(sf_float a, sf_float b);
int sf_ne(sf_float a, sf_float b);
int sf_lt(sf_float a, sf_float b);
int sf_gt(sf_float a, sf_float b);
int sf_le(sf_float a, sf_float b);
int sf_ge(sf_float a, sf_float b);
int sf_unordered(sf_float a, sf_float b);

// One of them, chosen at run time. The values are WAMR's AOTFloatCond.
enum sf_condition { SF_EQ, SF_NE, SF_LT, SF_GT, SF_LE, SF_GE, SF_UNORDERED };
int sf_compare(enum sf_condition condition, sf_float a, sf_float b);

sf_float sf_from_i32(int32_t a);
sf_float sf_from_u32(uint32_t a);

// Towards zero. Precondition: the truncated value fits, which WebAssembly's trapping conversions have checked; else any value.
int32_t sf_to_i32(sf_float a);
uint32_t sf_to_u32(sf_float a);

// Zeros before the first one: what normalising takes. 32 for 0.
uint32_t sf_clz(uint32_t a);

// binary16 in the low half of a word whose high half is 0. A NaN keeps its sign and the top of its payload, and becomes quiet.
sf_float sf_from_f16(uint32_t a);
uint32_t sf_to_f16(sf_float a);

#endif
