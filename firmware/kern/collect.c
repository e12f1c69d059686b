// Which blocks of the arena are in use: those that anything in MicroPython's heap points into. So a block stays while there is its
// Tensor, a memoryview of it, which does not keep the Tensor, or whatever else has taken its address.
#include "modkern.h"

#include "py/gc.h"

#include "arena.h"

#define BLOCKS_PER_BYTE (4) // of the allocation table, which has two bits for each block, 0 for a free one
#if MICROPY_GC_SPLIT_HEAP
#define NEXT_AREA(area) ((area)->next)
#else
#define NEXT_AREA(area) (NULL)
#endif
#define WORDS_PER_BLOCK (MICROPY_BYTES_PER_GC_BLOCK / sizeof(void *))

static bool stale; // a Tensor was collected since the last sweep

static void mark(void *const *words) {
    for (void *const *word = words; word < words + WORDS_PER_BLOCK; word++) {
        uintptr_t offset = arena_offset(*word);
        if (offset < KERN_ARENA_SIZE) {
            arena_mark(offset);
        }
    }
}

static void mark_area(const mp_state_mem_area_t *area) {
    void *const *words = (void *const *)area->gc_pool_start;
    for (size_t i = 0; i <= area->gc_last_used_block / BLOCKS_PER_BYTE; i++) {
        void *const *block = words + i * BLOCKS_PER_BYTE * WORDS_PER_BLOCK;
        for (uint8_t kinds = area->gc_alloc_table_start[i]; kinds != 0; kinds >>= 2, block += WORDS_PER_BLOCK) {
            if ((kinds & 3) != 0) {
                mark(block);
            }
        }
    }
}

// Only whole calls on this core change the arena, so no block can be in the making. The other core may change the heap.
static void collect(void) {
    KERN_HEAP_LOCK();
    for (const mp_state_mem_area_t *area = &MP_STATE_MEM(area); area != NULL; area = NEXT_AREA(area)) {
        mark_area(area);
    }
    KERN_HEAP_UNLOCK();
    arena_sweep();
    stale = false;
}

void kern_arena_stale(void) {
    stale = true;
}

void kern_arena_collect(void) {
    gc_collect();
    collect();
}

void *kern_arena_alloc(uint32_t size) {
    kern_check_free();
    if (stale) {
        collect(); // before the first fit: what is placed above garbage stays there
    }
    uint32_t offset = arena_alloc(size);
    if (offset == ARENA_NONE) {
        kern_arena_collect();
        offset = arena_alloc(size);
    }
    if (offset == ARENA_NONE) {
        struct arena_room room = arena_room();
        mp_raise_msg_varg(&mp_type_MemoryError, MP_ERROR_TEXT("arena: %u bytes wanted, %u free, %u in one piece"), (unsigned)size,
            (unsigned)room.free, (unsigned)room.largest);
    }
    return arena_at(offset);
}

uint32_t kern_arena_free_bytes(void) {
    kern_check_free();
    collect();
    return arena_room().free;
}
