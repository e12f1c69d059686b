// The runtime's memory: first fit in the pool. Takes the place of WAMR's wasm_memory.c and mem-alloc, which are made for
// bigger heaps.
#include "bh_platform.h"
#include "wasm_export.h"

#include "kern_board.h"

#define ALIGN (8)

// Before every block. Blocks lie one behind the other from POOL_FIRST to POOL_END.
struct header {
    uint32 size : 31; // with this header, a multiple of ALIGN
    uint32 used : 1;
};

// What follows a header is aligned.
#define POOL_FIRST ((struct header *)(KERN_POOL_ADDRESS + ALIGN - sizeof(struct header)))
#define POOL_END ((struct header *)(KERN_POOL_ADDRESS + KERN_POOL_SIZE - sizeof(struct header)))

static struct header *next(const struct header *block) {
    return (struct header *)((uintptr_t)block + block->size);
}

bool wasm_runtime_full_init(RuntimeInitArgs *args) {
    (void)args;
    *POOL_FIRST = (struct header) { .size = (uintptr_t)POOL_END - (uintptr_t)POOL_FIRST };
    return true;
}

void wasm_runtime_destroy(void) {
}

void *wasm_runtime_malloc(unsigned size) {
    if (size > KERN_POOL_SIZE) {
        return NULL;
    }
    uint32 wanted = (size + sizeof(struct header) + ALIGN - 1) & ~(ALIGN - 1);
    for (struct header *block = POOL_FIRST; block < POOL_END; block = next(block)) {
        while (!block->used && next(block) < POOL_END && !next(block)->used) {
            block->size += next(block)->size;
        }
        if (block->used || block->size < wanted) {
            continue;
        }
        if (block->size > wanted) {
            *(struct header *)((uintptr_t)block + wanted) = (struct header) { .size = block->size - wanted };
        }
        *block = (struct header) { .size = wanted, .used = 1 };
        return block + 1;
    }
    return NULL;
}

void wasm_runtime_free(void *p) {
    if (p != NULL) {
        ((struct header *)p - 1)->used = 0;
    }
}

bool wasm_runtime_get_mem_alloc_info(mem_alloc_info_t *info) {
    *info = (mem_alloc_info_t) { .total_size = (uintptr_t)POOL_END - (uintptr_t)POOL_FIRST };
    for (const struct header *block = POOL_FIRST; block < POOL_END; block = next(block)) {
        info->total_free_size += block->used ? 0 : block->size;
    }
    return true;
}
