// Vectors of four 32-bit lanes: what the simd128 flavours of row primitives are written with.
//
// C's operators work lane by lane on these types, and a comparison gives lanes of all ones or of zeros. Each is exact,
// or rounded as the same operation on one number is, so a vector holds the bits that four numbers would.
//
// Loops go over eight vectors at a time, then over one, then over single elements: Wasmtime looks at its epoch at the
// end of each iteration, which costs next to nothing for eight vectors and up to half the time for one.

#ifndef KERNEL_VECTORS_H
#define KERNEL_VECTORS_H

#include <stdint.h>
#include <wasm_simd128.h>

#define LANES 4
#define UNROLLED _Pragma("clang loop unroll(full)")

// Not inlined: among fewer variables Wasmtime finds room in registers for all that a loop uses.
#define VECTOR_FUNCTION static __attribute__((noinline, unused))
// Inlined, so that a count of vectors is a constant.
#define VECTOR_TEMPLATE static inline __attribute__((always_inline))

typedef float f32x4 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef uint32_t u32x4 __attribute__((vector_size(16)));

// Neither a load nor a store needs more alignment than an element.
static inline f32x4 f32x4_load(const float *from) {
    return (f32x4)wasm_v128_load(from);
}

static inline void f32x4_store(float *to, f32x4 value) {
    wasm_v128_store(to, (v128_t)value);
}

static inline f32x4 f32x4_splat(float value) {
    return (f32x4){value, value, value, value};
}

static inline u32x4 u32x4_splat(uint32_t value) {
    return (u32x4){value, value, value, value};
}

// mask ? a : b, for a mask that a comparison gave.
static inline f32x4 f32x4_select(i32x4 mask, f32x4 a, f32x4 b) {
    return (f32x4)wasm_v128_bitselect((v128_t)a, (v128_t)b, (v128_t)mask);
}

static inline u32x4 u32x4_select(i32x4 mask, u32x4 a, u32x4 b) {
    return (u32x4)wasm_v128_bitselect((v128_t)a, (v128_t)b, (v128_t)mask);
}

static inline f32x4 f32x4_trunc(f32x4 x) {
    return (f32x4)wasm_f32x4_trunc((v128_t)x);
}

// Whole numbers from -2^22 to 2^22 as integers. Cheaper than a conversion, which takes care of all other numbers.
static inline i32x4 i32x4_of_whole(f32x4 x) {
    const f32x4 magic = f32x4_splat(0x1.8p23f);
    return (i32x4)(x + magic) - (i32x4)magic;
}

#endif
