// Every operator of WebAssembly that a board's AOT code leaves to the runtime, one at a time: `op` says which, applied to
// pairs of words. tests/test_operators.py compares the board with Wasmtime.
#include "kernel_abi.h"
#include "operators_params.h"
#include "kernel_stateless.h"

static inline float as_float(uint32_t bits) {
    union { uint32_t bits; float value; } u = { bits };
    return u.value;
}

static inline uint32_t as_bits(float value) {
    union { float value; uint32_t bits; } u = { value };
    return u.bits;
}

// Whether truncating `a` gives an integer that the type holds; anything else would trap, as another test shows.
static inline bool fits(float a, float low, float high) {
    return a > low && a < high;
}

static uint32_t floats(uint32_t op, float a, float b) {
    switch (op) {
        case 0: return as_bits(a + b);
        case 1: return as_bits(a - b);
        case 2: return as_bits(a * b);
        case 3: return as_bits(a / b);
        case 4: return as_bits(__builtin_sqrtf(a));
        case 5: return as_bits(__builtin_fabsf(a));
        case 6: return as_bits(-a);
        case 7: return as_bits(__builtin_copysignf(a, b));
        case 8: return as_bits(__builtin_ceilf(a));
        case 9: return as_bits(__builtin_floorf(a));
        case 10: return as_bits(__builtin_truncf(a));
        case 11: return as_bits(__builtin_rintf(a));
        case 12: { float r; __asm__ ("local.get %1\n local.get %2\n f32.min\n local.set %0" : "=r" (r) : "r" (a), "r" (b)); return as_bits(r); }
        case 13: { float r; __asm__ ("local.get %1\n local.get %2\n f32.max\n local.set %0" : "=r" (r) : "r" (a), "r" (b)); return as_bits(r); }
        case 14: return (uint32_t)((a == b) | (a != b) << 1 | (a < b) << 2 | (a > b) << 3 | (a <= b) << 4 | (a >= b) << 5);
        case 15: return fits(a, -2147483648.0f, 2147483648.0f) ? (uint32_t)(int32_t)a : 0;
        case 16: return fits(a, -1.0f, 4294967296.0f) ? (uint32_t)a : 0;
        case 17: { int64_t i = fits(a, -9223372036854775808.0f, 9223372036854775808.0f) ? (int64_t)a : 0; return (uint32_t)(i ^ i >> 32); }
        default: { uint64_t u = fits(a, -1.0f, 18446744073709551616.0f) ? (uint64_t)a : 0; return (uint32_t)(u ^ u >> 32); }
    }
}

static uint32_t integers(uint32_t op, uint32_t a, uint32_t b) {
    uint64_t wide = (uint64_t)a << 32 | b, other = (uint64_t)(b >> 1 | 1) << (a & 31), r = 0;
    switch (op) {
        case 19: return as_bits((float)(int32_t)a);
        case 20: return as_bits((float)a);
        case 21: return as_bits((float)(int64_t)wide);
        case 22: return as_bits((float)wide);
        case 23: return b == 0 || (a == 0x80000000 && b == 0xffffffff) ? 0 : (uint32_t)((int32_t)a / (int32_t)b);
        case 24: return b == 0 ? 0 : a / b;
        case 25: return b == 0 ? 0 : (uint32_t)((int64_t)(int32_t)a % (int32_t)b);
        case 26: return b == 0 ? 0 : a % b;
        case 27: r = (uint64_t)((int64_t)wide / (int64_t)(other | 3)); break;
        case 28: r = wide / other; break;
        case 29: r = (uint64_t)((int64_t)wide % (int64_t)(other | 3)); break;
        case 30: r = wide % other; break;
        case 31: r = wide * other; break;
        case 32: r = wide << (b & 63); break;
        case 33: r = (uint64_t)((int64_t)wide >> (b & 63)); break;
        case 34: r = wide >> (b & 63); break;
        case 35: r = (wide | other) & (wide ^ 0x5555555555555555); break;
        case 36: return (uint32_t)__builtin_popcount(a) | (uint32_t)(a == 0 ? 32 : __builtin_clz(a)) << 8 | (uint32_t)(a == 0 ? 32 : __builtin_ctz(a)) << 16;
        default: return (uint32_t)__builtin_popcountll(wide) | (uint32_t)(wide == 0 ? 64 : __builtin_clzll(wide)) << 8
            | (uint32_t)(wide == 0 ? 64 : __builtin_ctzll(wide)) << 16;
    }
    return (uint32_t)(r ^ r >> 32);
}

KERNEL_EXPORT(operators)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    const struct kernel_descriptor *call = kernel_descriptor_at(descriptor);
    const struct operators_params *params = KERNEL_PARAMS(call, struct operators_params);
    const uint32_t *a = kernel_pointer(call->input_a.offset), *b = kernel_pointer(call->input_b.offset);
    uint32_t *y = kernel_pointer(call->output.offset);
    for (uint32_t i = 0; i < params->n; i++) {
        y[i] = params->op < 19 ? floats(params->op, as_float(a[i]), as_float(b[i])) : integers(params->op, a[i], b[i]);
    }
    return KERNEL_OK;
}
