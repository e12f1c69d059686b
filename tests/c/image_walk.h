// Everything that a checked image lets the firmware read, read; for the sanitizers, and with the promises of image.h and
// layout.h asserted. Shared by gate_check.c and image_fuzz.c.
#ifndef IMAGE_WALK_H
#define IMAGE_WALK_H

#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "layout.h"

// A text field: inside the image, and with its NUL.
static unsigned walk_text(const struct image *image, const char *text, size_t field_size) {
    const uint8_t *p = (const uint8_t *)text;
    assert(p >= image->bytes && p + field_size <= image->bytes + image->size);
    assert(memchr(text, 0, field_size) != NULL);
    return (unsigned)strlen(text);
}

static unsigned walk_bytes(const struct image *image, const uint8_t *p, size_t size) {
    unsigned sum = 0;
    assert(p >= image->bytes && size <= image->size && p + size <= image->bytes + image->size);
    for (size_t i = 0; i < size; i++) {
        sum += p[i];
    }
    return sum;
}

static unsigned walk_header(const struct image *image) {
    struct image_header header;
    image_header(image, &header);
    return walk_bytes(image, header.key_id, 8) + walk_bytes(image, header.manifest_sha256, 32)
           + walk_text(image, header.target, 24) + walk_text(image, header.name, 32) + walk_text(image, header.version, 24);
}

// Each tensor lies in its region, aligned and behind the one before it.
static void walk_regions(const struct image_kernel *kernel, const uint32_t bytes[IMAGE_MAX_TENSORS]) {
    struct layout layout;
    uint64_t ends[IMAGE_REGIONS] = { 0 };
    if (!layout_regions(kernel, bytes, &layout)) {
        return;
    }
    for (uint32_t i = 0; i < kernel->tensor_count; i++) {
        uint8_t region = image_tensor(kernel, i).region;
        if (bytes[i] != 0) {
            assert(layout.offsets[i] % LAYOUT_ALIGN == 0 && layout.offsets[i] >= ends[region]);
            ends[region] = (uint64_t)layout.offsets[i] + bytes[i];
        }
        assert(ends[region] <= layout.sizes[region] && layout.counts[region] <= kernel->tensor_count);
    }
}

// Symbols with their test values, tensors and their sizes. A tensor whose size does not come out is left out of its region.
static unsigned walk_tensors(const struct image *image, const struct image_kernel *kernel) {
    uint32_t symbols[IMAGE_MAX_SYMBOLS], bytes[IMAGE_MAX_TENSORS] = { 0 };
    unsigned sum = 0;
    assert(kernel->symbol_count <= IMAGE_MAX_SYMBOLS && kernel->tensor_count <= IMAGE_MAX_TENSORS);
    for (uint32_t i = 0; i < kernel->symbol_count; i++) {
        sum += walk_text(image, image_symbol(kernel, i, &symbols[i]), 16);
        assert(symbols[i] != 0);
    }
    for (uint32_t i = 0; i < kernel->tensor_count; i++) {
        struct image_tensor tensor = image_tensor(kernel, i);
        const struct layout_dtype *dtype = layout_dtype(tensor.dtype);
        uint32_t dims[IMAGE_MAX_RANK];
        sum += walk_text(image, tensor.name, 16);
        assert(dtype != NULL && layout_dtype_named(dtype->name) == dtype);
        assert(tensor.region < IMAGE_REGIONS && tensor.rank >= 1 && tensor.rank <= IMAGE_MAX_RANK);
        if (!layout_dims(&tensor, symbols, dims) || !layout_bytes(dtype, dims, tensor.rank, &bytes[i])) {
            bytes[i] = 0;
        }
    }
    walk_regions(kernel, bytes);
    return sum;
}

static unsigned walk_kernel(const struct image *image, const struct image_kernel *kernel) {
    unsigned sum = walk_tensors(image, kernel);
    sum += walk_text(image, kernel->id, 24) + walk_text(image, kernel->op, 16);
    sum += walk_text(image, kernel->entry, 24) + walk_text(image, kernel->fallback, 24);
    sum += walk_bytes(image, kernel->body_sha256, 32) + walk_bytes(image, kernel->test_sha256, 32);
    sum += walk_bytes(image, kernel->body, kernel->body_size);
    assert(kernel->param_count <= IMAGE_MAX_PARAMS);
    for (uint32_t i = 0; i < kernel->param_count; i++) {
        sum += walk_text(image, image_param(kernel, i).name, 16);
    }
    return sum;
}

// `image` passed image_check. The sum is there to be used: the compiler must not leave the reads out.
static unsigned image_walk(const struct image *image) {
    unsigned sum = walk_header(image);
    assert(image->kernel_count >= 1 && image->kernel_count <= IMAGE_MAX_KERNELS);
    for (uint32_t i = 0; i < image->kernel_count; i++) {
        struct image_kernel kernel = image_kernel(image, i);
        sum += walk_kernel(image, &kernel);
    }
    return sum;
}

#endif
