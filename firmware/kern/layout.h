// Sizes of a call's tensors and where each lies in its region: docs/kernel-abi.md in C.
#ifndef KERN_LAYOUT_H
#define KERN_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "image.h"

#define LAYOUT_ALIGN (16)

struct layout_dtype {
    const char *name;
    uint8_t code, block, size; // `block` elements in `size` bytes
    char typecode;             // of Python's struct and array; 0 for block formats
};

// By its code in an image, or by name; NULL for an unknown one.
const struct layout_dtype *layout_dtype(uint8_t code);
const struct layout_dtype *layout_dtype_named(const char *name);

// Bytes of a tensor of `rank` dims (elements). False when a row is not whole blocks or the size does not fit 32 bits.
bool layout_bytes(const struct layout_dtype *dtype, const uint32_t *dims, uint32_t rank, uint32_t *bytes);

// Value of a dim. False when it does not come out whole or does not fit 32 bits.
bool layout_dim(const struct image_dim *dim, const uint32_t *symbols, uint32_t *value);

// All dims of a tensor.
bool layout_dims(const struct image_tensor *tensor, const uint32_t *symbols, uint32_t dims[IMAGE_MAX_RANK]);

struct layout {
    uint32_t offsets[IMAGE_MAX_TENSORS]; // of each tensor in its region
    uint32_t sizes[IMAGE_REGIONS];       // of each region, 0 when it holds nothing
    uint8_t counts[IMAGE_REGIONS];       // tensors in each region
};

// Place tensors of these sizes (0: absent). False when a region does not fit 32 bits.
bool layout_regions(const struct image_kernel *kernel, const uint32_t bytes[IMAGE_MAX_TENSORS], struct layout *layout);

#endif
