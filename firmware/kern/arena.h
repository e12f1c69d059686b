// The arena: the one linear memory that every kernel sees, and an allocator for the tensors in it.
// What the allocator knows lies outside the arena, where no kernel can write.
#ifndef KERN_ARENA_H
#define KERN_ARENA_H

#include <stdint.h>

#include "kern_board.h"

#define ARENA_ALIGN (16)                  // bytes; every block starts and ends at a multiple
#define ARENA_NONE (0)                    // no block: offset 0 belongs to the kernels' private page
#define ARENA_BASE ((uint8_t *)KERN_ARENA_ADDRESS)

// Free every block.
void arena_reset(void);

// Offset of a block of at least `size` bytes, contents undefined, or ARENA_NONE when there is no room.
uint32_t arena_alloc(uint32_t size) __attribute__((warn_unused_result));

// Precondition: `offset` came from arena_alloc and was not freed since.
void arena_free(uint32_t offset);

uint32_t arena_free_bytes(void);
uint32_t arena_largest_free(void);

static inline void *arena_at(uint32_t offset) {
    return ARENA_BASE + offset;
}

#endif
