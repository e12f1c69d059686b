// Slots, key sets and state log; see store.h for what holds at every instant.
#include "store.h"

#include <stddef.h>
#include <string.h>

#define MAGIC (0x32474f4c) // "LOG2"

// A record as it lies in flash, at the start of a page, in the board's byte order: it is never moved to another board.
struct record {
    uint32_t magic;
    struct store_state state;
    uint32_t crc; // of all that is before
};

_Static_assert(sizeof(struct record) <= STORE_PAGE, "a record fits a page");

// ---- reading the log ----

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

static bool one_of(uint32_t index, uint32_t count) {
    return index < count || index == STORE_NONE;
}

static bool record_ok(const struct store *store, const struct record *record) {
    const struct store_state *state = &record->state;
    uint32_t most = store->flash->slot_size;
    return record->magic == MAGIC && record->crc == record_crc(record)
           && one_of(state->active, STORE_SLOTS) && one_of(state->previous, STORE_SLOTS) && one_of(state->keys, STORE_KEY_AREAS)
           && state->sizes[0] <= most && state->sizes[1] <= most && state->keys_size <= store->flash->sector;
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
    struct store_state *state = &store->state;
    *store = (struct store) {
        .flash = flash,
        .page = flash->state_size / STORE_PAGE - 1, // with no record, the next page is the first
        .state = { .active = STORE_NONE, .previous = STORE_NONE, .confirmed = 1, .keys = STORE_NONE },
    };
    for (uint32_t page = 0; page < flash->state_size / STORE_PAGE; page++) {
        const struct record *record = record_at(store, page);
        if (record_ok(store, record) && record->state.sequence > state->sequence) {
            store->page = page;
            *state = record->state;
        }
    }
    if (!state->confirmed) {
        state->active = state->previous;
        state->previous = STORE_NONE;
        state->confirmed = 1;
    }
}

uint32_t store_idle(const struct store *store) {
    return store->state.active == 0 ? 1 : 0;
}

const uint8_t *store_slot(const struct store *store, uint32_t slot) {
    return store->flash->memory + store->flash->slots[slot];
}

// ---- appending a record ----

static int program(const struct store *store, uint32_t offset, const uint8_t *data) {
    const struct store_flash *flash = store->flash;
    bool good = flash->program(offset, data, STORE_PAGE) && memcmp(flash->memory + offset, data, STORE_PAGE) == 0;
    return good ? KERN_OK : KERN_FLASH_ERROR;
}

// The page after the newest record's that can take a record: the next blank one, else the first of the next sector, erased. After
// a reset the latter, for a page that was cut short may look blank.
static int next_page(const struct store *store, uint32_t *page) {
    const struct store_flash *flash = store->flash;
    uint32_t per_sector = flash->sector / STORE_PAGE, pages = flash->state_size / STORE_PAGE;
    uint32_t next = store->page + 1;
    while (next % per_sector != 0 && !(store->settled && page_blank(store, next))) {
        next++;
    }
    next %= pages;
    *page = next;
    bool good = next % per_sector != 0 || flash->erase(flash->state + next * STORE_PAGE, flash->sector);
    return good ? KERN_OK : KERN_FLASH_ERROR;
}

static int append(struct store *store, struct store_state state) {
    uint8_t buffer[STORE_PAGE];
    struct record record = { .magic = MAGIC, .state = state };
    uint32_t page;
    int error = next_page(store, &page);
    // Used up even when this fails: who knows whether such a record would count after a reset.
    record.state.sequence = ++store->state.sequence;
    record.crc = record_crc(&record);
    memset(buffer, 0xff, sizeof(buffer));
    memcpy(buffer, &record, sizeof(record));
    if (error == KERN_OK) {
        error = program(store, store->flash->state + page * STORE_PAGE, buffer);
    }
    if (error == KERN_OK) {
        store->page = page;
        store->state = record.state;
        store->settled = true;
    }
    return error;
}

static int settle(struct store *store) {
    return store->settled ? KERN_OK : append(store, store->state);
}

// ---- slots ----

int store_begin(struct store *store) {
    store->writing = store->state.confirmed;
    store->written = 0;
    return store->writing ? KERN_OK : KERN_PACK_ON_TRIAL;
}

int store_release(struct store *store) {
    struct store_state state = store->state;
    if (!state.confirmed) {
        return KERN_PACK_ON_TRIAL;
    }
    if (state.previous == STORE_NONE) {
        return KERN_OK;
    }
    state.previous = STORE_NONE;
    return append(store, state);
}

// Before the first erase of the idle slot.
static int give_idle_up(struct store *store) {
    return store->state.previous == STORE_NONE ? settle(store) : store_release(store);
}

static int write_page(struct store *store, const uint8_t page[STORE_PAGE]) {
    const struct store_flash *flash = store->flash;
    uint32_t at = store->written, offset = flash->slots[store_idle(store)] + at;
    if (at >= flash->slot_size) {
        return KERN_PACK_TOO_LARGE;
    }
    int error = at == 0 ? give_idle_up(store) : KERN_OK;
    if (error != KERN_OK) {
        return error;
    }
    if (at % flash->sector == 0 && !flash->erase(offset, flash->sector)) {
        return KERN_FLASH_ERROR;
    }
    store->written += STORE_PAGE;
    return program(store, offset, page);
}

int store_write(struct store *store, const uint8_t page[STORE_PAGE]) {
    int error = store->writing ? write_page(store, page) : KERN_FLASH_ERROR;
    store->writing = error == KERN_OK;
    return error;
}

static void raise_counter(struct store_state *state, uint32_t counter) {
    if (state->counter < counter) {
        state->counter = counter;
    }
}

int store_commit(struct store *store, uint32_t size, uint32_t counter, bool confirmed) {
    struct store_state state = store->state;
    if (!store->writing || size > store->written) {
        return KERN_FLASH_ERROR;
    }
    store->writing = false;
    state.previous = state.active;
    state.active = store_idle(store);
    state.sizes[state.active] = size;
    state.confirmed = confirmed;
    if (confirmed) {
        raise_counter(&state, counter);
    }
    return append(store, state);
}

int store_confirm(struct store *store, uint32_t counter) {
    struct store_state state = store->state;
    if (state.confirmed) {
        return KERN_OK;
    }
    state.confirmed = 1;
    raise_counter(&state, counter);
    return append(store, state);
}

int store_rollback(struct store *store) {
    struct store_state state = store->state;
    if (state.previous == STORE_NONE) {
        return KERN_NO_PREVIOUS_PACK;
    }
    store->writing = false;
    state.active = state.previous;
    state.previous = state.confirmed ? store->state.active : STORE_NONE;
    state.confirmed = 1;
    return append(store, state);
}

// ---- key sets ----

static uint32_t area_at(const struct store *store, uint32_t area) {
    return store->flash->keys + area * store->flash->sector;
}

const uint8_t *store_keys(const struct store *store, uint32_t *size) {
    *size = store->state.keys_size;
    return store->state.keys == STORE_NONE ? NULL : store->flash->memory + area_at(store, store->state.keys);
}

static int write_area(const struct store *store, uint32_t offset, const uint8_t *bytes, uint32_t size) {
    uint8_t page[STORE_PAGE];
    int error = store->flash->erase(offset, store->flash->sector) ? KERN_OK : KERN_FLASH_ERROR;
    for (uint32_t at = 0; at < size && error == KERN_OK; at += STORE_PAGE) {
        memset(page, 0xff, sizeof(page));
        memcpy(page, bytes + at, size - at < STORE_PAGE ? size - at : STORE_PAGE);
        error = program(store, offset + at, page);
    }
    return error;
}

int store_keys_write(struct store *store, const uint8_t *bytes, uint32_t size) {
    uint32_t area = store->state.keys == 0 ? 1 : 0;
    int error = size > store->flash->sector ? KERN_PACK_TOO_LARGE : settle(store);
    if (error == KERN_OK) {
        error = write_area(store, area_at(store, area), bytes, size);
    }
    struct store_state state = store->state;
    state.keys = area;
    state.keys_size = size;
    return error == KERN_OK ? append(store, state) : error;
}
