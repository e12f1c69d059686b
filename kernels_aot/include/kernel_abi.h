// Kernel ABI, version 1: docs/kernel-abi.md in C. Every kernel includes this file first.
//
// A kernel is compiled twice from the same source: to wasm, where an offset in linear memory is a pointer, and with
// KERNEL_NATIVE defined into firmware, as the reference implementation, where offsets count from kernel_native_base.

#ifndef KERNEL_ABI_H
#define KERNEL_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KERNEL_ABI_VERSION 1

enum kernel_code {
    KERNEL_OK = 0,
    KERNEL_INVALID_INPUT = 1,
    KERNEL_INVALID_OUTPUT = 2,
    KERNEL_INVALID_PARAMS = 3,
    KERNEL_OUT_OF_MEMORY = 4,
    KERNEL_NOT_IMPLEMENTED = 5,
    KERNEL_INTERNAL_ERROR = 6,
};

// Offset in linear memory and size in bytes; both 0 when a call has no such region.
struct kernel_region {
    uint32_t offset;
    uint32_t size;
};

struct kernel_descriptor {
    struct kernel_region input_a;
    struct kernel_region input_b;
    struct kernel_region output;
    struct kernel_region scratch;
    struct kernel_region params;
};

_Static_assert(sizeof(struct kernel_descriptor) == 40, "a descriptor is ten u32");

// What kernel_info returns the offset of. Texts have a NUL at their end.
struct kernel_info {
    uint32_t size; // of this struct
    uint32_t abi_version;
    char name[24];    // the kernel's id
    char version[24]; // of its pack
};

_Static_assert(sizeof(struct kernel_info) == 56, "two words and two texts");

// Begins the definition of an entry point: KERNEL_EXPORT(name)(uint32_t descriptor) { ... }
// KERNEL_BACKWARD is the same for kernel_backward, which firmware has no use for.
#ifdef KERNEL_NATIVE
extern uint8_t *kernel_native_base;
#define KERNEL_EXPORT(name) int32_t name(uint32_t descriptor); int32_t name
#define KERNEL_BACKWARD static __attribute__((unused)) int32_t kernel_backward
#else
#define KERNEL_EXPORT(name) __attribute__((export_name(#name))) int32_t name
#define KERNEL_BACKWARD __attribute__((export_name("kernel_backward"))) int32_t kernel_backward
#endif

// Begins the definition of a hot loop. In a function of its own it has all registers; where a compiler inlines it, what the
// whole kernel needs later is in them, and a board has few.
#define KERNEL_LOOP static __attribute__((noinline, unused))

// Before a loop: clang leaves it as it is, or unrolls all of it. wamrc checks the accesses of an innermost loop at once
// if it can count the loop's rounds.
#ifdef __clang__
#define KERNEL_ROLLED _Pragma("clang loop unroll(disable)")
#define KERNEL_UNROLLED _Pragma("clang loop unroll(full)")
#else
#define KERNEL_ROLLED
#define KERNEL_UNROLLED
#endif

// Keeps a compiler from computing both sides of a branch to choose one of two results, where one side is a soft float.
#define KERNEL_KEEP_BRANCH() __asm__ volatile("")

static inline void *kernel_pointer(uint32_t offset) {
#ifdef KERNEL_NATIVE
    return kernel_native_base + offset;
#else
    return (void *)(uintptr_t)offset;
#endif
}

static inline const struct kernel_descriptor *kernel_descriptor_at(uint32_t offset) {
    return (const struct kernel_descriptor *)kernel_pointer(offset);
}

// a * b, or UINT32_MAX when that does not fit: no multiple of an alignment, so the size of no region.
static inline uint32_t kernel_product(uint32_t a, uint32_t b) {
    if (((a | b) >> 16) == 0) {
        return a * b;
    }
    uint64_t product = (uint64_t)a * b;
    return product > UINT32_MAX ? UINT32_MAX : (uint32_t)product;
}

// Bytes of a region with two tensors, the second at the next multiple of 16; `second_at` is where. UINT32_MAX when that
// does not fit.
static inline uint32_t kernel_region_of_two(uint32_t first, uint32_t second, uint32_t *second_at) {
    *second_at = (first + 15) & ~15u;
    return first > UINT32_MAX - 15 || second > UINT32_MAX - *second_at ? UINT32_MAX : *second_at + second;
}

// Whether a region holds exactly `size` bytes, and its elements of `align` bytes (a power of two) are aligned.
static inline bool kernel_region_is(const struct kernel_region *region, uint32_t size, uint32_t align) {
    return region->size == size && size != 0 && ((region->offset | size) & (align - 1)) == 0
           && region->offset <= UINT32_MAX - size;
}

// Whether two regions have a byte in common. Neither may reach beyond the address space.
static inline bool kernel_overlap(const struct kernel_region *a, const struct kernel_region *b) {
    return a->size != 0 && b->size != 0 && a->offset < b->offset + b->size && b->offset < a->offset + a->size;
}

static inline bool kernel_same(const struct kernel_region *a, const struct kernel_region *b) {
    return a->offset == b->offset && a->size == b->size;
}

// Whether an output may be written while everything else is read. Only a kernel that works in place passes
// `in_place`; input A may then be the very same region.
static inline bool kernel_output_is_apart(const struct kernel_descriptor *call, bool in_place) {
    const struct kernel_region *output = &call->output;
    return ((in_place && kernel_same(output, &call->input_a)) || !kernel_overlap(output, &call->input_a))
           && !kernel_overlap(output, &call->input_b) && !kernel_overlap(output, &call->scratch)
           && !kernel_overlap(output, &call->params);
}

// Whether the scratch region has at least `size` bytes that nothing else in the call uses.
static inline bool kernel_scratch_is(const struct kernel_descriptor *call, uint32_t size, uint32_t align) {
    const struct kernel_region *scratch = &call->scratch;
    return scratch->size >= size && kernel_region_is(scratch, scratch->size, align)
           && !kernel_overlap(scratch, &call->input_a) && !kernel_overlap(scratch, &call->input_b)
           && !kernel_overlap(scratch, &call->params);
}

// The params block, a struct from <kernel id>_params.h, or NULL when the region does not hold just that.
#define KERNEL_PARAMS(call, type) \
    (kernel_region_is(&(call)->params, sizeof(type), 4) ? (const type *)kernel_pointer((call)->params.offset) : NULL)

#endif
