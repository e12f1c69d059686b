// The address of a faulty access, for code in the instructions of ARMv6-M.
#ifndef KERN_GUARD_THUMB1_H
#define KERN_GUARD_THUMB1_H

#include "guard.h"
#include "guard_arm.h"

// The address that the load or store at frame->pc was to; `r4`: r4 to r7. For any other instruction it means nothing.
static inline uint32_t guard_thumb1_address(const struct guard_frame *frame, const uint32_t *r4) {
    uint32_t op = *(const uint16_t *)frame->pc;
    uint32_t low[8] = { frame->r0, frame->r1, frame->r2, frame->r3, r4[0], r4[1], r4[2], r4[3] };
    uint32_t n = low[op >> 3 & 7], offset = op >> 6 & 31;
    switch (op >> 12) {
        case 5: // register offset
            return n + low[op >> 6 & 7];
        case 6: // word, immediate offset
            return n + 4 * offset;
        case 8: // halfword, immediate offset
            return n + 2 * offset;
        case 12: // multiple
            return low[op >> 8 & 7];
        default:
            return GUARD_NO_ADDRESS;
    }
}

#endif
