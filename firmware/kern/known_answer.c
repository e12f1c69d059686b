// Known-answer tests.
#include "known_answer.h"

#include <string.h>

#include "arena.h"
#include "descriptor.h"
#include "layout.h"
#include "sha256.h"

static uint32_t next(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

// (value - 2^bits) × 2^-bits for a value of bits + 1 bits, as the bits of a float; exact. Packed by hand since the firmware's
// own float arithmetic is not to be trusted with it.
static uint32_t unit_float(uint32_t value, int bits, int fraction_bits, int bias) {
    int32_t centred = (int32_t)value - (1 << bits);
    uint32_t sign = centred < 0, magnitude = (uint32_t)(sign ? -centred : centred);
    if (magnitude == 0) {
        return 0;
    }
    int top = 31 - __builtin_clz(magnitude);
    uint32_t fraction = magnitude << (fraction_bits - top) & ((1u << fraction_bits) - 1);
    int total = fraction_bits == 23 ? 31 : 15;
    return sign << total | (uint32_t)(top - bits + bias) << fraction_bits | fraction;
}

static void fill_blocks(uint8_t *p, uint32_t bytes, uint32_t block_size, uint32_t *state) {
    for (uint8_t *end = p + bytes; p < end; p += block_size) {
        uint32_t scale = 0x2000 | (next(state) & 0x3ff);
        p[0] = (uint8_t)scale;
        p[1] = (uint8_t)(scale >> 8);
        for (uint32_t i = 2; i < block_size; i++) {
            p[i] = (uint8_t)next(state);
        }
    }
}

static void fill(uint8_t *p, uint32_t bytes, const struct layout_dtype *dtype, uint32_t *state) {
    if (dtype->block > 1) {
        fill_blocks(p, bytes, dtype->size, state);
        return;
    }
    for (uint8_t *end = p + bytes; p < end; p += dtype->size) {
        uint32_t u = next(state);
        uint32_t element = dtype->typecode == 'f' ? unit_float(u >> 8, 23, 23, 127)
            : dtype->typecode == 'e' ? unit_float(u >> 21, 10, 10, 15)
            : u;
        memcpy(p, &element, dtype->size);
    }
}

static bool takes_part(const struct image_tensor *tensor) {
    return !(tensor->flags & (IMAGE_OPTIONAL | IMAGE_ALTERNATIVE));
}

static bool is_read(const struct image_tensor *tensor) {
    return tensor->region == IMAGE_INPUT_A || tensor->region == IMAGE_INPUT_B || (tensor->flags & IMAGE_INOUT);
}

static bool place(const struct image_kernel *kernel, uint32_t *symbols, uint32_t *bytes, struct layout *layout) {
    for (uint32_t i = 0; i < kernel->symbol_count; i++) {
        (void)image_symbol(kernel, i, &symbols[i]);
    }
    for (uint32_t i = 0; i < kernel->tensor_count; i++) {
        struct image_tensor tensor = image_tensor(kernel, i);
        uint32_t dims[IMAGE_MAX_RANK];
        bytes[i] = 0;
        if (takes_part(&tensor)
            && (!layout_dims(&tensor, symbols, dims) || !layout_bytes(layout_dtype(tensor.dtype), dims, tensor.rank, &bytes[i]))) {
            return false;
        }
    }
    return layout_regions(kernel, bytes, layout);
}

static int run(const struct gate_pack *pack, uint32_t index, const struct image_kernel *kernel, const uint32_t regions[IMAGE_REGIONS],
    const struct layout *layout, const uint32_t *symbols) {
    uint32_t params[DESCRIPTOR_MAX_PARAMS], count = 0;
    for (uint32_t i = 0; i < kernel->symbol_count; i++) {
        params[count++] = symbols[i];
    }
    for (uint32_t i = 0; i < kernel->param_count; i++) {
        params[count++] = image_param(kernel, i).value;
    }
    descriptor_write(DESCRIPTOR_SHARED, regions, layout->sizes, params, count);
    struct engine_result result;
    int code = engine_call(pack, index, DESCRIPTOR_SHARED, &result);
    if (code != KERN_OK) {
        return code;
    }
    uint8_t digest[SHA256_SIZE];
    sha256(arena_at(regions[IMAGE_OUTPUT]), layout->sizes[IMAGE_OUTPUT], digest);
    return memcmp(digest, kernel->test_sha256, sizeof(digest)) == 0 ? KERN_OK : KERN_HEALTH_CHECK_FAILED;
}

int known_answer_test(const struct gate_pack *pack, uint32_t index) {
    struct image_kernel kernel = image_kernel(&pack->image, index);
    uint32_t symbols[IMAGE_MAX_SYMBOLS], bytes[IMAGE_MAX_TENSORS], regions[IMAGE_REGIONS] = { 0 };
    struct layout layout;
    if (!place(&kernel, symbols, bytes, &layout)) {
        return KERN_HEALTH_CHECK_FAILED;
    }
    int code = KERN_OK;
    for (uint32_t r = 0; r < IMAGE_REGIONS && code == KERN_OK; r++) {
        if (layout.sizes[r] != 0) {
            regions[r] = arena_alloc(layout.sizes[r]);
            bool room = regions[r] != ARENA_NONE && regions[r] + layout.sizes[r] <= image_memory_limit(&kernel);
            code = room ? KERN_OK : KNOWN_ANSWER_NO_ROOM;
        }
    }
    if (code == KERN_OK) {
        uint32_t state = kernel.test_seed;
        memset(arena_at(regions[IMAGE_OUTPUT]), 0, layout.sizes[IMAGE_OUTPUT]);
        for (uint32_t i = 0; i < kernel.tensor_count; i++) {
            struct image_tensor tensor = image_tensor(&kernel, i);
            if (bytes[i] != 0 && is_read(&tensor)) {
                fill(arena_at(regions[tensor.region] + layout.offsets[i]), bytes[i], layout_dtype(tensor.dtype), &state);
            }
        }
        code = run(pack, index, &kernel, regions, &layout, symbols);
    }
    for (uint32_t r = 0; r < IMAGE_REGIONS; r++) {
        if (regions[r] != ARENA_NONE) {
            arena_free(regions[r]);
        }
    }
    return code;
}
