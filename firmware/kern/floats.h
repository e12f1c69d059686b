// Single precision arithmetic of kernels, on bit patterns, exactly as WebAssembly defines it (IEEE 754, round to nearest even,
// denormals kept). Pure functions. MicroPython's own float arithmetic uses the boot ROM's, which flushes denormals.
#ifndef KERN_FLOATS_H
#define KERN_FLOATS_H

#include <stdint.h>

typedef uint32_t f32; // the bits of a float: what the soft-float ABI passes

// libgcc's, under private names (see micropython.cmake).
f32 soft__aeabi_fadd(f32 a, f32 b);
f32 soft__aeabi_fsub(f32 a, f32 b);
f32 soft__aeabi_fmul(f32 a, f32 b);
f32 soft__aeabi_fdiv(f32 a, f32 b);
f32 soft__aeabi_i2f(int32_t a);
f32 soft__aeabi_ui2f(uint32_t a);
int32_t soft__aeabi_f2iz(f32 a);
uint32_t soft__aeabi_f2uiz(f32 a);
int soft__clzsi2(uint32_t a); // leading zeros; a is not 0

#define f32_add soft__aeabi_fadd
#define f32_sub soft__aeabi_fsub
#define f32_mul soft__aeabi_fmul
#define f32_div soft__aeabi_fdiv
#define f32_from_i32 soft__aeabi_i2f
#define f32_from_u32 soft__aeabi_ui2f
#define f32_to_i32 soft__aeabi_f2iz  // AOT code has checked the range
#define f32_to_u32 soft__aeabi_f2uiz

f32 f32_abs(f32 a);
f32 f32_sqrt(f32 a);
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

// The values are WAMR's AOTFloatCond.
enum f32_condition { F32_EQUAL, F32_NOT_EQUAL, F32_LESS, F32_GREATER, F32_LESS_EQUAL, F32_GREATER_EQUAL, F32_UNORDERED };
int32_t f32_compare(enum f32_condition condition, f32 a, f32 b);

#endif
