// Everything that AOT code may call: a short list of pure functions, and the way out of a trap. Takes the place of WAMR's
// aot/arch/aot_reloc_*.c: files that need any other symbol, or a relocation, do not load.
#include "aot_reloc.h"
#include "aot_runtime.h"

#include "floats.h"
#include "guard.h"

_Static_assert((int)FLOAT_EQ == SF_EQ && (int)FLOAT_NE == SF_NE && (int)FLOAT_LT == SF_LT && (int)FLOAT_GT == SF_GT
               && (int)FLOAT_LE == SF_LE && (int)FLOAT_GE == SF_GE && (int)FLOAT_UNO == SF_UNORDERED,
    "AOT code and softfloat.h mean the same conditions");

static const int8_t trap_errors[EXCE_NUM] = {
    [EXCE_UNREACHABLE] = KERN_UNREACHABLE,
    [EXCE_OUT_OF_MEMORY] = KERN_MEMORY_ACCESS_VIOLATION,
    [EXCE_OUT_OF_BOUNDS_MEMORY_ACCESS] = KERN_MEMORY_ACCESS_VIOLATION,
    [EXCE_INTEGER_OVERFLOW] = KERN_INTEGER_OVERFLOW,
    [EXCE_INTEGER_DIVIDE_BY_ZERO] = KERN_INTEGER_DIVIDE_BY_ZERO,
    [EXCE_INVALID_CONVERSION_TO_INTEGER] = KERN_INVALID_CONVERSION,
    [EXCE_INVALID_FUNCTION_TYPE_INDEX] = KERN_INDIRECT_CALL_TYPE_MISMATCH,
    [EXCE_INVALID_FUNCTION_INDEX] = KERN_UNDEFINED_ELEMENT,
    [EXCE_UNDEFINED_ELEMENT] = KERN_UNDEFINED_ELEMENT,
    [EXCE_UNINITIALIZED_ELEMENT] = KERN_UNDEFINED_ELEMENT,
    [EXCE_OUT_OF_BOUNDS_TABLE_ACCESS] = KERN_UNDEFINED_ELEMENT,
    [EXCE_NATIVE_STACK_OVERFLOW] = KERN_STACK_OVERFLOW,
    [EXCE_AUX_STACK_OVERFLOW] = KERN_STACK_OVERFLOW,
    [EXCE_AUX_STACK_UNDERFLOW] = KERN_STACK_OVERFLOW,
};

// As AOT code sees aot_set_exception_with_id; does not return.
static void trap(AOTModuleInstance *inst, uint32 id) {
    (void)inst;
    int error = id < EXCE_NUM ? trap_errors[id] : 0;
    guard_trap(error != 0 ? error : KERN_KERNEL_ERROR, (uintptr_t)__builtin_return_address(0));
}

// AOT code goes through aot_call_indirect only for imported functions, and a kernel has none.
static bool call_imported(void) {
    guard_trap(KERN_UNDEFINED_ELEMENT, (uintptr_t)__builtin_return_address(0));
}

static bool memory_init(AOTModuleInstance *inst, uint32 segment, uint32 offset, uint32 size, size_t destination) {
    if (!aot_memory_init(inst, segment, offset, size, destination)) {
        trap(inst, EXCE_OUT_OF_BOUNDS_MEMORY_ACCESS);
    }
    return true;
}

// Stands for aot_invoke_native: AOT code names it but only reaches it through imports, which the engine refuses.
static void import_call(void) {
    guard_trap(KERN_KERNEL_ERROR, (uintptr_t)__builtin_return_address(0));
}

// WAMR's own count bit by bit.
static uint32 ctz_i32(uint32 a) {
    return a != 0 ? 31 - sf_clz(a & -a) : 32;
}

static uint64 clz_i64(uint64 a) {
    return a >> 32 != 0 ? sf_clz((uint32)(a >> 32)) : 32 + sf_clz((uint32)a);
}

static uint64 ctz_i64(uint64 a) {
    return (uint32)a != 0 ? ctz_i32((uint32)a) : 32 + ctz_i32((uint32)(a >> 32));
}

#define INTEGER_HELPER(name, type, op) \
    static type name(type a, type b) { \
        return a op b; \
    }

INTEGER_HELPER(i32_rem_s, int32, %)
INTEGER_HELPER(i32_rem_u, uint32, %)
INTEGER_HELPER(i64_rem_s, int64, %)
INTEGER_HELPER(i64_rem_u, uint64, %)
INTEGER_HELPER(i64_or, uint64, |)
INTEGER_HELPER(i64_and, uint64, &)

#ifdef __ARM_ARCH_6M__
// These would only call functions of ARM's run-time ABI, which have the same arguments and result.
#define i32_div_s __aeabi_idiv
#define i32_div_u __aeabi_uidiv
#define i64_div_s __aeabi_ldivmod
#define i64_div_u __aeabi_uldivmod
#define i64_mul __aeabi_lmul
#define i64_shl __aeabi_llsl
#define i64_shr_s __aeabi_lasr
#define i64_shr_u __aeabi_llsr
void i32_div_s(void), i32_div_u(void), i64_div_s(void), i64_div_u(void);
void i64_mul(void), i64_shl(void), i64_shr_s(void), i64_shr_u(void);
#else
INTEGER_HELPER(i32_div_s, int32, /)
INTEGER_HELPER(i32_div_u, uint32, /)
INTEGER_HELPER(i64_div_s, int64, /)
INTEGER_HELPER(i64_div_u, uint64, /)
INTEGER_HELPER(i64_mul, uint64, *)
INTEGER_HELPER(i64_shl, uint64, <<)
INTEGER_HELPER(i64_shr_s, int64, >>)
INTEGER_HELPER(i64_shr_u, uint64, >>)
#endif

// Where the target passes floats in registers of their own, so does AOT code, which has most operators in itself then.
#if KERN_HARD_FLOATS
static inline float number(f32 bits) {
    float a;
    memcpy(&a, &bits, sizeof(a));
    return a;
}

static inline f32 bits(float a) {
    f32 bits;
    memcpy(&bits, &a, sizeof(bits));
    return bits;
}

// C code of the firmware's may pass them otherwise (-mfloat-abi=softfp).
#ifdef __arm__
#define HARD static __attribute__((pcs("aapcs-vfp")))
#else
#define HARD static
#endif

#define FLOATS(function) hard_##function
#define HARD_UNARY(function) HARD float hard_##function(float a) { return number(function(bits(a))); }
#define HARD_BINARY(function) HARD float hard_##function(float a, float b) { return number(function(bits(a), bits(b))); }
#define HARD_FROM(function, type) HARD float hard_##function(type a) { return number(function(a)); }
#define HARD_TO(function, type) HARD type hard_##function(float a) { return function(bits(a)); }

HARD_UNARY(f32_abs)
HARD_UNARY(f32_ceil)
HARD_UNARY(f32_floor)
HARD_UNARY(f32_trunc)
HARD_UNARY(f32_nearest)
HARD_BINARY(f32_min)
HARD_BINARY(f32_max)
HARD_FROM(f32_from_i64, int64_t)
HARD_FROM(f32_from_u64, uint64_t)
HARD_TO(f32_to_i64, int64_t)
HARD_TO(f32_to_u64, uint64_t)
#else
#define FLOATS(function) function
#endif

#define SYMBOL(name, function) { name, (void *)function }

static const SymbolMap symbols[] = {
    SYMBOL("aot_set_exception_with_id", trap),
    SYMBOL("aot_call_indirect", call_imported),
    SYMBOL("aot_invoke_native", import_call),
    SYMBOL("aot_memory_init", memory_init),
    SYMBOL("aot_data_drop", aot_data_drop),
    SYMBOL("memmove", memmove),
    SYMBOL("memcpy", memmove),
    SYMBOL("memset", memset),
    #if !KERN_HARD_FLOATS
    SYMBOL("aot_intrinsic_fadd_f32", sf_add),
    SYMBOL("aot_intrinsic_fsub_f32", sf_sub),
    SYMBOL("aot_intrinsic_fmul_f32", sf_mul),
    SYMBOL("aot_intrinsic_fdiv_f32", sf_div),
    SYMBOL("aot_intrinsic_sqrt_f32", sf_sqrt),
    SYMBOL("aot_intrinsic_f32_cmp", sf_compare),
    SYMBOL("aot_intrinsic_i32_to_f32", sf_from_i32),
    SYMBOL("aot_intrinsic_u32_to_f32", sf_from_u32),
    SYMBOL("aot_intrinsic_f32_to_i32", sf_to_i32),
    SYMBOL("aot_intrinsic_f32_to_u32", sf_to_u32),
    #endif
    SYMBOL("aot_intrinsic_fabs_f32", FLOATS(f32_abs)),
    SYMBOL("aot_intrinsic_ceil_f32", FLOATS(f32_ceil)),
    SYMBOL("aot_intrinsic_floor_f32", FLOATS(f32_floor)),
    SYMBOL("aot_intrinsic_trunc_f32", FLOATS(f32_trunc)),
    SYMBOL("aot_intrinsic_rint_f32", FLOATS(f32_nearest)),
    SYMBOL("aot_intrinsic_fmin_f32", FLOATS(f32_min)),
    SYMBOL("aot_intrinsic_fmax_f32", FLOATS(f32_max)),
    SYMBOL("aot_intrinsic_i64_to_f32", FLOATS(f32_from_i64)),
    SYMBOL("aot_intrinsic_u64_to_f32", FLOATS(f32_from_u64)),
    SYMBOL("aot_intrinsic_f32_to_i64", FLOATS(f32_to_i64)),
    SYMBOL("aot_intrinsic_f32_to_u64", FLOATS(f32_to_u64)),
    SYMBOL("aot_intrinsic_clz_i32", sf_clz),
    SYMBOL("aot_intrinsic_ctz_i32", ctz_i32),
    SYMBOL("aot_intrinsic_popcnt_i32", aot_intrinsic_popcnt_i32),
    SYMBOL("aot_intrinsic_clz_i64", clz_i64),
    SYMBOL("aot_intrinsic_ctz_i64", ctz_i64),
    SYMBOL("aot_intrinsic_popcnt_i64", aot_intrinsic_popcnt_i64),
    SYMBOL("aot_intrinsic_i32_div_s", i32_div_s),
    SYMBOL("aot_intrinsic_i32_div_u", i32_div_u),
    SYMBOL("aot_intrinsic_i32_rem_s", i32_rem_s),
    SYMBOL("aot_intrinsic_i32_rem_u", i32_rem_u),
    SYMBOL("aot_intrinsic_i64_div_s", i64_div_s),
    SYMBOL("aot_intrinsic_i64_div_u", i64_div_u),
    SYMBOL("aot_intrinsic_i64_rem_s", i64_rem_s),
    SYMBOL("aot_intrinsic_i64_rem_u", i64_rem_u),
    SYMBOL("aot_intrinsic_i64_bit_or", i64_or),
    SYMBOL("aot_intrinsic_i64_bit_and", i64_and),
    SYMBOL("aot_intrinsic_i64_mul", i64_mul),
    SYMBOL("aot_intrinsic_i64_shl", i64_shl),
    SYMBOL("aot_intrinsic_i64_shr_s", i64_shr_s),
    SYMBOL("aot_intrinsic_i64_shr_u", i64_shr_u),
};

SymbolMap *get_target_symbol_map(uint32 *count) {
    *count = sizeof(symbols) / sizeof(symbols[0]);
    return (SymbolMap *)symbols; // only read
}

void get_current_target(char *buffer, uint32 size) {
    snprintf(buffer, size, KERN_AOT_TARGET);
}

uint32 get_plt_table_size(void) {
    return 0;
}

void init_plt_table(uint8 *plt) {
    (void)plt;
}
