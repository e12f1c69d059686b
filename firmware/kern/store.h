// Two slots for board images and a log that says which one is active, in raw flash. Does not know what the slots hold.
//
// The log is a ring of pages in the state sectors. A commit appends one record; the record with the highest sequence number
// and a good CRC counts. A sector is erased only when the newest record lies in another one, so at every instant, power
// cuts included, the log names the old state or the new.
#ifndef KERN_STORE_H
#define KERN_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "kern_errors.h"

#define STORE_SLOTS (2)
#define STORE_NO_SLOT (255)
#define STORE_PAGE (256) // bytes: the unit of programming, and of store_write

// The flash as the store sees it; offsets count from the start of flash. One per port.
struct store_flash {
    const uint8_t *memory; // where the flash is mapped
    uint32_t sector;       // bytes, a multiple of STORE_PAGE: the unit of erasing
    uint32_t slots[STORE_SLOTS], slot_size;
    uint32_t state, state_size; // at least two sectors
    // Both return false on failure. `size` is a multiple of the sector, or of STORE_PAGE.
    bool (*erase)(uint32_t offset, uint32_t size);
    bool (*program)(uint32_t offset, const uint8_t *data, uint32_t size);
};

// What the newest record says, and what every commit replaces as a whole.
struct store_state {
    uint32_t sequence; // set by the store
    uint8_t active;    // slot, or STORE_NO_SLOT
    uint32_t sizes[STORE_SLOTS]; // bytes of the image in each slot, 0 when there is none
    uint32_t counter;  // opaque to the store: the security counter that may not be gone below
};

struct store {
    const struct store_flash *flash;
    struct store_state state;
    uint32_t page;    // the newest record's page in the log
    uint32_t written; // bytes written to the idle slot since store_begin
    bool writing;
};

// Find the newest record. With none, nothing is active.
void store_open(struct store *store, const struct store_flash *flash);

uint8_t store_idle(const struct store *store);
const uint8_t *store_slot(const struct store *store, uint8_t slot);

// Fill the idle slot from its start. What it held is lost; the active slot and the log stay as they are.
void store_begin(struct store *store);

// Append one page; sectors are erased as they are reached. KERN_PACK_TOO_LARGE beyond the slot, KERN_FLASH_ERROR when what
// was read back differs.
int store_write(struct store *store, const uint8_t page[STORE_PAGE]) __attribute__((warn_unused_result));

// Make the idle slot, holding `size` bytes, the active one: one atomic step.
int store_commit(struct store *store, uint32_t size, uint32_t counter) __attribute__((warn_unused_result));

#endif
