// Unaligned integers of images and key sets.
#ifndef KERN_LITTLE_ENDIAN_H
#define KERN_LITTLE_ENDIAN_H

#include <stdint.h>

static inline uint32_t get_u16(const uint8_t *p) {
    return p[0] | (uint32_t)p[1] << 8;
}

static inline uint32_t get_u32(const uint8_t *p) {
    return get_u16(p) | get_u16(p + 2) << 16;
}

#endif
