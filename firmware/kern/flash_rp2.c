// Raw flash of RP2040 and RP2350, outside what MicroPython's own driver manages, and their clock.
#include "flash.h"

#include "hardware/flash.h"
#include "hardware/sync.h"
#include "hardware/timer.h"
#include "pico/multicore.h"

#include "kern_board.h"
#include "rp2_flash.h"

extern void (*core1_entry)(void *); // mpthreadport.c: what runs on core 1

_Static_assert(FLASH_SECTOR_SIZE == KERN_FLASH_SECTOR && FLASH_PAGE_SIZE == STORE_PAGE, "the board's facts are the chip's");

// While flash is erased or programmed nothing can be fetched from it: neither interrupts nor core 1 may run.
static uint32_t begin(void) {
    if (core1_entry != NULL && multicore_lockout_victim_is_initialized(1)) {
        multicore_lockout_start_blocking();
    }
    return save_and_disable_interrupts();
}

static void end(uint32_t interrupts) {
    restore_interrupts(interrupts);
    if (core1_entry != NULL && multicore_lockout_victim_is_initialized(1)) {
        multicore_lockout_end_blocking();
    }
    rp2_flash_set_timing(); // the boot ROM's routines leave the slow default
}

static bool erase(uint32_t offset, uint32_t size) {
    uint32_t interrupts = begin();
    flash_range_erase(offset, size);
    end(interrupts);
    return true;
}

static bool program(uint32_t offset, const uint8_t *data, uint32_t size) {
    uint32_t interrupts = begin();
    flash_range_program(offset, data, size);
    end(interrupts);
    return true;
}

const struct store_flash kern_flash = {
    .memory = (const uint8_t *)KERN_FLASH_ADDRESS,
    KERN_FLASH_FACTS,
    .erase = erase,
    .program = program,
};

uint64_t kern_uptime_us(void) {
    return time_us_64();
}
