// The kernels' memory is a second area of MicroPython's heap until kern is imported.
#include "modkern.h"

#include "py/gc.h"

#include "kern_board.h"

#define AREA ((mp_state_mem_area_t *)KERN_STACK_ADDRESS) // gc_add puts it at the start
#define AREA_END (KERN_POOL_ADDRESS + KERN_POOL_SIZE)

_Static_assert(KERN_STACK_ADDRESS + KERN_STACK_SIZE == KERN_ARENA_ADDRESS && KERN_ARENA_ADDRESS + KERN_ARENA_SIZE == KERN_POOL_ADDRESS,
    "stack, arena and pool are one piece");

static bool lent;

void kern_memory_lend(void) {
    if (!lent) {
        gc_add(AREA, (void *)AREA_END);
        lent = true;
    }
}

// Whether no block is in use, after a collection.
static bool is_unused(void) {
    for (size_t i = 0; i < AREA->gc_alloc_table_byte_len; i++) {
        if (AREA->gc_alloc_table_start[i] != 0) {
            return false;
        }
    }
    return true;
}

void kern_memory_claim(void) {
    if (!lent) {
        return;
    }
    // The other core must not allocate between the collection and the end.
    KERN_HEAP_LOCK();
    gc_collect(); // makes the first area the one to allocate from
    bool unused = is_unused();
    if (unused) {
        MP_STATE_MEM(area).next = NULL;
        lent = false;
    }
    KERN_HEAP_UNLOCK();
    if (!unused) {
        mp_raise_msg(&mp_type_MemoryError, MP_ERROR_TEXT("objects lie in the memory of kernels: import kern before making large ones"));
    }
}
