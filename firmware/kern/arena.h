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

// Offset of a block of at least `size` bytes, as low as there is room, contents undefined; or ARENA_NONE.
uint32_t arena_alloc(uint32_t size) __attribute__((warn_unused_result));

// Precondition: `offset` came from arena_alloc and was not freed since.
void arena_free(uint32_t offset);

// Garbage collection: mark every block that is in use, then sweep, which frees the others. Nothing else may be called between.
// `offset` is of any byte of the arena, in a block or not.
void arena_mark(uint32_t offset);
void arena_sweep(void);

struct arena_room {
    uint32_t free, largest; // bytes in all, and of the largest block that can be had
};
struct arena_room arena_room(void);

static inline void *arena_at(uint32_t offset) {
    return ARENA_BASE + offset;
}

// Offset of an address in the arena; of any other, KERN_ARENA_SIZE or more.
static inline uintptr_t arena_offset(const void *p) {
    return (uintptr_t)p - KERN_ARENA_ADDRESS;
}

#endif
