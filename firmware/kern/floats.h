// WebAssembly's float operators beside those of softfloat.h: on bit patterns, exactly as it defines them. Pure functions.
// MicroPython's own float arithmetic uses the boot ROM's, which flushes denormals.
#ifndef KERN_FLOATS_H
#define KERN_FLOATS_H

#include <stdint.h>

#include "softfloat.h"

typedef sf_float f32;

f32 f32_abs(f32 a);
f32 f32_ceil(f32 a);
f32 f32_floor(f32 a);
f32 f32_trunc(f32 a);
f32 f32_nearest(f32 a); // to even
f32 f32_min(f32 a, f32 b);
f32 f32_max(f32 a, f32 b);
f32 f32_from_i64(int64_t a);
f32 f32_from_u64(uint64_t a);
int64_t f32_to_i64(f32 a);
uint64_t f32_to_u64(f32 a);

#endif
