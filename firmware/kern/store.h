// Two slots for board images, two areas for key sets, and a log that says which of them count, in raw flash.
// Does not know what slots and areas hold.
//
// The log is a ring of pages in the state sectors. Every change of state is one record, appended; the record with the
// highest sequence number and a good CRC counts. So at every instant, power cuts included, the state is the old one or the
// new one:
//
// - A sector of the log is erased only when the newest record lies in the one before it; the others keep older ones.
// - Nothing that the newest record names is erased. The previous image lies in the idle slot: a record that no longer names
//   it comes before the first erase there.
// - The newest record found after a reset may have been cut short, with cells that are read as programmed today and not tomorrow.
//   So the first change begins with a record, in a sector erased for it, before the first erase of a slot or area.
// - A pack on trial is gone back from without a write: a record that does not confirm it means, after a reset, the
//   previous one.
#ifndef KERN_STORE_H
#define KERN_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "kern_errors.h"

#define STORE_SLOTS (2)
#define STORE_KEY_AREAS (2)
#define STORE_NONE (255)
#define STORE_PAGE (256) // bytes: the unit of programming, and of store_write

// The flash as the store sees it; offsets count from the start of flash. One per port.
struct store_flash {
    const uint8_t *memory; // where the flash is mapped
    uint32_t sector;       // bytes, a multiple of STORE_PAGE: the unit of erasing
    uint32_t slots[STORE_SLOTS], slot_size;
    uint32_t state, state_size; // at least three sectors
    uint32_t keys;         // the two areas, a sector each
    // Both return false on failure, and are called with one sector or one STORE_PAGE.
    bool (*erase)(uint32_t offset, uint32_t size) __attribute__((warn_unused_result));
    bool (*program)(uint32_t offset, const uint8_t *data, uint32_t size) __attribute__((warn_unused_result));
};

// What a record says; every record replaces the one before as a whole. Words only: it lies like this in flash.
struct store_state {
    uint32_t sequence;  // set by the store
    uint32_t active;    // slot, or STORE_NONE
    uint32_t previous;  // slot that can be gone back to, or STORE_NONE
    uint32_t confirmed; // 0: the active slot is on trial, until the next reset
    uint32_t sizes[STORE_SLOTS]; // bytes of the images in the active and the previous slot
    uint32_t counter;   // highest security counter confirmed; never falls
    uint32_t keys;      // area with the current key set, or STORE_NONE
    uint32_t keys_size; // bytes of it
};

struct store {
    const struct store_flash *flash;
    struct store_state state;
    uint32_t page;    // the newest record's page in the log
    uint32_t written; // bytes written to the idle slot since store_begin
    bool writing;
    bool settled;     // a record was appended, and read back, since store_open
};

// Find the newest record; with none, nothing is active. A pack on trial is gone back from: this is called at each reset.
void store_open(struct store *store, const struct store_flash *flash);

uint32_t store_idle(const struct store *store);
const uint8_t *store_slot(const struct store *store, uint32_t slot);

// ---- changes ----
//
// Each returns KERN_OK, or what is named with it; all can return KERN_FLASH_ERROR, when the flash did not become what it
// had to. After an error the state is as it was.

// Start to fill the idle slot. The active slot stays as it is. KERN_PACK_ON_TRIAL while there is one: the idle slot holds
// what is gone back to.
int store_begin(struct store *store) __attribute__((warn_unused_result));

// Append one page; sectors are erased as they are reached, and with the first the previous image is given up.
// KERN_PACK_TOO_LARGE beyond the slot. After an error, and after any change of the active slot, there is nothing to append
// to until store_begin.
int store_write(struct store *store, const uint8_t page[STORE_PAGE]) __attribute__((warn_unused_result));

// Make the idle slot, holding `size` bytes, the active one, and the active one the previous one. Confirmed, it raises the
// counter; else it is on trial.
int store_commit(struct store *store, uint32_t size, uint32_t counter, bool confirmed) __attribute__((warn_unused_result));

// End the trial of the active pack, if it is on trial: it stays, and raises the counter.
int store_confirm(struct store *store, uint32_t counter) __attribute__((warn_unused_result));

// Make the previous slot the active one. What was active becomes the previous one, but not if it was on trial.
// KERN_NO_PREVIOUS_PACK.
int store_rollback(struct store *store) __attribute__((warn_unused_result));

// Give up the previous image, if there is one. KERN_PACK_ON_TRIAL while it is what the trial would go back to.
int store_release(struct store *store) __attribute__((warn_unused_result));

// ---- key sets ----

// The current key set, or NULL.
const uint8_t *store_keys(const struct store *store, uint32_t *size);

// Make these bytes the current key set: write them to the other area, read them back, append the record.
// KERN_PACK_TOO_LARGE beyond a sector.
int store_keys_write(struct store *store, const uint8_t *bytes, uint32_t size) __attribute__((warn_unused_result));

#endif
