// Sizes and places of tensors.
#include "layout.h"

#include <stddef.h>
#include <string.h>

#include "kern_dtypes.h"

#define DTYPE_ROW(name_, code_, block_, size_, typecode_) \
    { .name = #name_, .code = code_, .block = block_, .size = size_, .typecode = typecode_ },
static const struct layout_dtype dtypes[] = { KERN_DTYPES(DTYPE_ROW) };
#define DTYPE_COUNT (sizeof(dtypes) / sizeof(dtypes[0]))

const struct layout_dtype *layout_dtype(uint8_t code) {
    for (size_t i = 0; i < DTYPE_COUNT; i++) {
        if (dtypes[i].code == code) {
            return &dtypes[i];
        }
    }
    return NULL;
}

const struct layout_dtype *layout_dtype_named(const char *name) {
    for (size_t i = 0; i < DTYPE_COUNT; i++) {
        if (strcmp(dtypes[i].name, name) == 0) {
            return &dtypes[i];
        }
    }
    return NULL;
}

bool layout_bytes(const struct layout_dtype *dtype, const uint32_t *dims, uint32_t rank, uint32_t *bytes) {
    if (dtype->block > 1 && (rank == 0 || dims[rank - 1] % dtype->block != 0)) {
        return false;
    }
    uint64_t elements = 1;
    for (uint32_t i = 0; i < rank; i++) {
        elements *= dims[i];
        if (elements > UINT32_MAX) {
            return false;
        }
    }
    uint64_t size = elements / dtype->block * dtype->size;
    *bytes = (uint32_t)size;
    return size <= UINT32_MAX - LAYOUT_ALIGN;
}

bool layout_dim(const struct image_dim *dim, const uint32_t *symbols, uint32_t *value) {
    uint64_t product = (dim->symbol == IMAGE_CONSTANT ? 1 : symbols[dim->symbol]) * (uint64_t)dim->multiplier;
    *value = (uint32_t)(product / dim->divisor);
    return product % dim->divisor == 0 && product / dim->divisor <= UINT32_MAX;
}

bool layout_dims(const struct image_tensor *tensor, const uint32_t *symbols, uint32_t dims[IMAGE_MAX_RANK]) {
    for (uint32_t i = 0; i < tensor->rank; i++) {
        if (!layout_dim(&tensor->dims[i], symbols, &dims[i])) {
            return false;
        }
    }
    return true;
}

bool layout_regions(const struct image_kernel *kernel, const uint32_t bytes[IMAGE_MAX_TENSORS], struct layout *layout) {
    *layout = (struct layout) { 0 };
    for (uint32_t i = 0; i < kernel->tensor_count; i++) {
        if (bytes[i] == 0) {
            continue;
        }
        uint8_t region = image_tensor(kernel, i).region;
        uint32_t start = (layout->sizes[region] + LAYOUT_ALIGN - 1) & ~(uint32_t)(LAYOUT_ALIGN - 1);
        if (start < layout->sizes[region] || bytes[i] > UINT32_MAX - start) {
            return false;
        }
        layout->offsets[i] = start;
        layout->sizes[region] = start + bytes[i];
        layout->counts[region]++;
    }
    return true;
}
