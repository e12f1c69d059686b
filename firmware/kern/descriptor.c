// Descriptor and params block.
#include "descriptor.h"

#include <string.h>

void descriptor_write(uint32_t offset, const uint32_t regions[IMAGE_REGIONS], const uint32_t sizes[IMAGE_REGIONS],
    const uint32_t *params, uint32_t param_count) {
    uint32_t *word = arena_at(offset);
    for (uint32_t r = 0; r < IMAGE_REGIONS; r++) {
        *word++ = sizes[r] != 0 ? regions[r] : 0;
        *word++ = sizes[r];
    }
    *word++ = param_count != 0 ? offset + DESCRIPTOR_SIZE : 0;
    *word = 4 * param_count;
    memcpy(arena_at(offset + DESCRIPTOR_SIZE), params, 4 * param_count);
}

uint32_t descriptor_write_defaults(const struct image_kernel *kernel) {
    uint32_t *word = arena_at(DESCRIPTOR_DEFAULTS);
    for (uint32_t i = 0; i < kernel->param_count; i++) {
        *word++ = image_param(kernel, i).value;
    }
    return 4 * kernel->param_count;
}
