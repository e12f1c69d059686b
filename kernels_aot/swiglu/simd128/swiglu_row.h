// silu(gate) * up over a row, four elements at a time, with the bits of portable/swiglu_row.h.

#ifndef SWIGLU_ROW_H
#define SWIGLU_ROW_H

#include "kernel_math_x4.h"
#include "silu.h"

#define SWIGLU_UNROLLED (EXP_MINUS_VECTORS * LANES)

// `count` vectors. Both branches of silu.h are one quotient here: 2^64 divides exactly.
VECTOR_TEMPLATE void swiglu_x4(float *y, const float *gate, const float *up, uint32_t count) {
    f32x4 magnitude[EXP_MINUS_VECTORS], e[EXP_MINUS_VECTORS];
    i32x4 shift[EXP_MINUS_VECTORS];
    UNROLLED
    for (uint32_t v = 0; v < count; v++) {
        f32x4 g = f32x4_load(gate + v * LANES);
        magnitude[v] = (f32x4)((u32x4)g & 0x7fffffff);
        shift[v] = (g < -32.0f) & 64;
    }
    exp_minus_x4(e, magnitude, shift, count);
    UNROLLED
    for (uint32_t v = 0; v < count; v++) {
        f32x4 g = f32x4_load(gate + v * LANES);
        f32x4 dividend = f32x4_select((i32x4)g < 0, g * e[v], g);
        f32x4 divisor = f32x4_select(g < -32.0f, f32x4_splat(0x1p64f), 1.0f + e[v]);
        f32x4_store(y + v * LANES, dividend / divisor * f32x4_load(up + v * LANES));
    }
}

// y may be gate.
VECTOR_FUNCTION void swiglu_row(float *y, const float *gate, const float *up, uint32_t count) {
    for (; count >= SWIGLU_UNROLLED;
         count -= SWIGLU_UNROLLED, y += SWIGLU_UNROLLED, gate += SWIGLU_UNROLLED, up += SWIGLU_UNROLLED) {
        swiglu_x4(y, gate, up, EXP_MINUS_VECTORS);
    }
    for (; count >= LANES; count -= LANES, y += LANES, gate += LANES, up += LANES) {
        swiglu_x4(y, gate, up, 1);
    }
    for (; count != 0; count--) {
        *y++ = silu(*gate++) * *up++;
    }
}

#endif
