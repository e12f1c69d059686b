// Slots and state log; see store.h for what holds at every instant.
#include "store.h"

#include <stddef.h>
#include <string.h>

#define MAGIC (0x474f4c4b) // "KLOG"

// A record as it lies in flash, at the start of a page. Words of the board's byte order: it is never moved to another one.
struct record {
    uint32_t magic;
    uint32_t sequence;
    uint32_t active;
    uint32_t sizes[STORE_SLOTS];
    uint32_t counter;
    uint32_t crc; // of all that is before
};

_Static_assert(sizeof(struct record) <= STORE_PAGE, "a record fits a page");

static uint32_t crc32(const uint8_t *p, size_t size) {
    uint32_t crc = ~0u;
    while (size-- > 0) {
        crc ^= *p++;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
        }
    }
    return ~crc;
}

static uint32_t record_crc(const struct record *record) {
    return crc32((const uint8_t *)record, offsetof(struct record, crc));
}

static const struct record *record_at(const struct store *store, uint32_t page) {
    return (const struct record *)(store->flash->memory + store->flash->state + page * STORE_PAGE);
}

static bool record_ok(const struct store *store, const struct record *record) {
    uint32_t most = store->flash->slot_size;
    return record->magic == MAGIC && record->crc == record_crc(record)
           && (record->active < STORE_SLOTS || record->active == STORE_NO_SLOT) && record->sizes[0] <= most && record->sizes[1] <= most;
}

static bool page_blank(const struct store *store, uint32_t page) {
    const uint8_t *p = (const uint8_t *)record_at(store, page);
    for (uint32_t i = 0; i < STORE_PAGE; i++) {
        if (p[i] != 0xff) {
            return false;
        }
    }
    return true;
}

void store_open(struct store *store, const struct store_flash *flash) {
    *store = (struct store) { .flash = flash, .state.active = STORE_NO_SLOT };
    for (uint32_t page = 0; page < flash->state_size / STORE_PAGE; page++) {
        const struct record *record = record_at(store, page);
        if (record_ok(store, record) && record->sequence > store->state.sequence) {
            store->page = page;
            store->state = (struct store_state) {
                .sequence = record->sequence,
                .active = record->active,
                .sizes = { record->sizes[0], record->sizes[1] },
                .counter = record->counter,
            };
        }
    }
}

uint8_t store_idle(const struct store *store) {
    return store->state.active == 0 ? 1 : 0;
}

const uint8_t *store_slot(const struct store *store, uint8_t slot) {
    return store->flash->memory + store->flash->slots[slot];
}

static int program(const struct store *store, uint32_t offset, const uint8_t *data) {
    const struct store_flash *flash = store->flash;
    if (!flash->program(offset, data, STORE_PAGE) || memcmp(flash->memory + offset, data, STORE_PAGE) != 0) {
        return KERN_FLASH_ERROR;
    }
    return KERN_OK;
}

void store_begin(struct store *store) {
    store->written = 0;
    store->writing = true;
}

int store_write(struct store *store, const uint8_t page[STORE_PAGE]) {
    const struct store_flash *flash = store->flash;
    uint32_t offset = flash->slots[store_idle(store)] + store->written;
    if (!store->writing) {
        return KERN_FLASH_ERROR;
    }
    if (store->written >= flash->slot_size) {
        return KERN_PACK_TOO_LARGE;
    }
    if (store->written % flash->sector == 0 && !flash->erase(offset, flash->sector)) {
        return KERN_FLASH_ERROR;
    }
    store->written += STORE_PAGE;
    return program(store, offset, page);
}

// The page after the newest record's that can take a record: the next blank one, else the first of the next sector, erased.
static int next_page(struct store *store, uint32_t *page) {
    const struct store_flash *flash = store->flash;
    uint32_t per_sector = flash->sector / STORE_PAGE, pages = flash->state_size / STORE_PAGE;
    uint32_t next = store->state.sequence == 0 ? 0 : store->page + 1;
    if (next % per_sector == 0) {
        next %= pages;
    }
    while (next % per_sector != 0 && !page_blank(store, next)) {
        next = (next + 1) % pages;
    }
    if (next % per_sector == 0 && !flash->erase(flash->state + next * STORE_PAGE, flash->sector)) {
        return KERN_FLASH_ERROR;
    }
    *page = next;
    return KERN_OK;
}

static int append(struct store *store, const struct store_state *state) {
    uint8_t buffer[STORE_PAGE];
    struct record record = {
        .magic = MAGIC,
        .sequence = state->sequence,
        .active = state->active,
        .sizes = { state->sizes[0], state->sizes[1] },
        .counter = state->counter,
    };
    record.crc = record_crc(&record);
    memset(buffer, 0xff, sizeof(buffer));
    memcpy(buffer, &record, sizeof(record));
    uint32_t page;
    int error = next_page(store, &page);
    if (error == KERN_OK) {
        error = program(store, store->flash->state + page * STORE_PAGE, buffer);
    }
    if (error == KERN_OK) {
        store->page = page;
        store->state = *state;
    }
    return error;
}

int store_commit(struct store *store, uint32_t size, uint32_t counter) {
    if (!store->writing || size > store->written) {
        return KERN_FLASH_ERROR;
    }
    struct store_state state = store->state;
    state.sequence++;
    state.active = store_idle(store);
    state.sizes[state.active] = size;
    state.counter = counter;
    int error = append(store, &state);
    store->writing = error != KERN_OK;
    return error;
}
