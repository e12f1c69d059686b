// f16 as storage on four lanes: the conversions of kernel_f16.h, with its bits in each.

#ifndef KERNEL_F16_X4_H
#define KERNEL_F16_X4_H

#include "kernel_f16.h"
#include "kernel_vectors.h"

static inline f32x4 f16_load_x4(const uint16_t *stored) {
    i32x4 half = (i32x4)wasm_i32x4_load16x4(stored);
    i32x4 magnitude = half & 0x7fff;
    // With an exponent that is 224 too large, infinities and NaN are those of f32.
    f32x4 normal = (f32x4)((magnitude << 13) + (224 << 23)) * 0x1p-112f;
    // The unit of denormals, 2^-24, is that of f32s from 0.5 on. As denormals of f32, on the way to a product with 2^112,
    // they would take a processor's slow path.
    f32x4 denormal = (f32x4)(magnitude | 0x3f000000) - 0.5f;
    u32x4 sign = (u32x4)half & 0x80000000;
    return (f32x4)((u32x4)f32x4_select(magnitude < 0x400, denormal, normal) | sign);
}

static inline void f16_store_x4(uint16_t *stored, f32x4 x) {
    u32x4 bits = (u32x4)x;
    u32x4 sign = bits >> 16 & 0x8000;
    // 4 |x|, or infinity from 2^16 on.
    f32x4 scaled = (f32x4)(bits & 0x7fffffff) * 0x1p112f * 0x1p-110f;
    // Rounded by adding the power of two that has the f16's last bit, which is never less than 2^-24, as its own.
    u32x4 exponent = (u32x4)wasm_u32x4_max((v128_t)(bits & 0x7f800000), wasm_u32x4_const_splat(113u << 23));
    u32x4 rounded = (u32x4)(scaled + (f32x4)(exponent + (15u << 23)));
    u32x4 half = sign | ((rounded >> 13 & 0x7c00) + (rounded & 0xfff));
    half = u32x4_select(x != x, u32x4_splat(F16_NAN), half);
    wasm_v128_store64_lane(stored, wasm_u16x8_narrow_i32x4((v128_t)half, (v128_t)half), 0);
}

#endif
