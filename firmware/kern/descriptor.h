// The descriptor and params block of a call, and the defaults for kernel_init, in the arena: docs/kernel-abi.md.
#ifndef KERN_DESCRIPTOR_H
#define KERN_DESCRIPTOR_H

#include "arena.h"
#include "image.h"

#define DESCRIPTOR_MAX_PARAMS (IMAGE_MAX_SYMBOLS + IMAGE_MAX_PARAMS)
#define DESCRIPTOR_SIZE (48)                                         // ten words, up to the params' alignment
#define DESCRIPTOR_BLOCK (DESCRIPTOR_SIZE + 4 * DESCRIPTOR_MAX_PARAMS) // bytes of both
#define DESCRIPTOR_SHARED (KERN_KERNEL_PAGE)                         // place of the one for calls that are not prepared
#define DESCRIPTOR_DEFAULTS (DESCRIPTOR_SHARED + DESCRIPTOR_BLOCK)   // place of the defaults: a kernel is loaded when its call is written
#define DESCRIPTOR_END (DESCRIPTOR_DEFAULTS + 4 * IMAGE_MAX_PARAMS)  // of both places

// Write both at `offset`, which has room for DESCRIPTOR_BLOCK bytes. A region of size 0 is unused.
void descriptor_write(uint32_t offset, const uint32_t regions[IMAGE_REGIONS], const uint32_t sizes[IMAGE_REGIONS],
    const uint32_t *params, uint32_t param_count);

// Write every parameter's default at DESCRIPTOR_DEFAULTS, one word each in table order. Returns their size in bytes.
uint32_t descriptor_write_defaults(const struct image_kernel *kernel);

#endif
