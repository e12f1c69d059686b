// The kernels' memory comes from ESP-IDF's heap at the first import and goes back there at a soft reset. In three pieces: no chip of the
// family need have room for all of it in one.
#include "modkern.h"

#include "esp_heap_caps.h"

#include "flash_esp32.h"
#include "guard_esp32.h"
#include "kern_board.h"

#define KIND (MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT)
#define ALIGN (16)

uintptr_t kern_stack_address, kern_arena_address, kern_pool_address;

static void give_back(uintptr_t *address) {
    heap_caps_free((void *)*address);
    *address = 0;
}

void kern_memory_lend(void) {
    guard_esp32_stop();
    give_back(&kern_pool_address);
    give_back(&kern_arena_address);
    give_back(&kern_stack_address);
}

static void claim(uintptr_t *address, size_t size) {
    *address = (uintptr_t)heap_caps_aligned_alloc(ALIGN, size, KIND);
    if (*address == 0) {
        size_t largest = heap_caps_get_largest_free_block(KIND);
        kern_memory_lend();
        mp_raise_msg_varg(&mp_type_MemoryError, MP_ERROR_TEXT("kernels need %u bytes in one piece, the largest has %u: import kern first"),
            (unsigned)size, (unsigned)largest);
    }
}

void kern_memory_claim(void) {
    if (!flash_esp32_map()) {
        mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("no partition for packs as this firmware has it: flash all of it"));
    }
    if (kern_arena_address == 0) {
        claim(&kern_arena_address, KERN_ARENA_SIZE); // the largest first
        claim(&kern_stack_address, KERN_STACK_SIZE);
        claim(&kern_pool_address, KERN_POOL_SIZE);
    }
}
