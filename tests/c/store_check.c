// The board's store on a flash in memory that loses power: commit image after image while every erase and every program
// operation in turn is cut short, and check each time that a fresh start finds the old state or the new one, complete.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

#define SECTOR (4096u)
#define SLOT (2 * SECTOR)
#define STATE (2 * SLOT)
#define STATE_SIZE (2 * SECTOR)

static uint8_t memory[STATE + STATE_SIZE];
static long budget; // bytes that may still be erased or programmed before power goes

static bool spend(uint32_t size, uint32_t *done) {
    *done = budget < (long)size ? (uint32_t)budget : size;
    budget -= *done;
    return *done == size;
}

static bool erase(uint32_t offset, uint32_t size) {
    uint32_t done;
    bool whole = spend(size, &done);
    if (offset % SECTOR != 0 || size % SECTOR != 0 || offset + size > sizeof(memory)) {
        abort();
    }
    memset(memory + offset, 0xff, done);
    return whole;
}

static bool program(uint32_t offset, const uint8_t *data, uint32_t size) {
    uint32_t done;
    bool whole = spend(size, &done);
    if (offset % STORE_PAGE != 0 || size % STORE_PAGE != 0 || offset + size > sizeof(memory)) {
        abort();
    }
    for (uint32_t i = 0; i < done; i++) {
        memory[offset + i] &= data[i]; // programming only clears bits
    }
    return whole;
}

static const struct store_flash flash = {
    .memory = memory, .sector = SECTOR, .slots = { 0, SLOT }, .slot_size = SLOT, .state = STATE, .state_size = STATE_SIZE,
    .erase = erase, .program = program,
};

// Write an image of pages that all hold `mark` and make it active.
static int install(struct store *store, uint8_t mark, uint32_t pages) {
    uint8_t page[STORE_PAGE];
    memset(page, mark, sizeof(page));
    store_begin(store);
    for (uint32_t i = 0; i < pages; i++) {
        int error = store_write(store, page);
        if (error != KERN_OK) {
            return error;
        }
    }
    return store_commit(store, pages * STORE_PAGE, mark);
}

static bool holds(const struct store *store, uint8_t mark, uint32_t pages) {
    uint8_t slot = store->state.active;
    if (slot == STORE_NO_SLOT || store->state.sizes[slot] != pages * STORE_PAGE || store->state.counter != mark) {
        return false;
    }
    for (uint32_t i = 0; i < pages * STORE_PAGE; i++) {
        if (store_slot(store, slot)[i] != mark) {
            return false;
        }
    }
    return true;
}

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            printf("line %d: %s\n", __LINE__, #condition); \
            return 1; \
        } \
    } while (0)

static int check_limits(void) {
    struct store store;
    uint8_t page[STORE_PAGE] = { 0 };
    memset(memory, 0xff, sizeof(memory));
    budget = 1 << 30;
    store_open(&store, &flash);
    CHECK(store.state.active == STORE_NO_SLOT && store_idle(&store) == 0);
    CHECK(store_write(&store, page) == KERN_FLASH_ERROR);        // not begun
    CHECK(store_commit(&store, 0, 0) == KERN_FLASH_ERROR);
    CHECK(install(&store, 1, SLOT / STORE_PAGE) == KERN_OK && holds(&store, 1, SLOT / STORE_PAGE));
    CHECK(install(&store, 2, SLOT / STORE_PAGE + 1) == KERN_PACK_TOO_LARGE && holds(&store, 1, SLOT / STORE_PAGE));
    store_begin(&store);
    CHECK(store_write(&store, page) == KERN_OK && store_commit(&store, STORE_PAGE + 1, 0) == KERN_FLASH_ERROR); // more than written
    return 0;
}

// Where the log stands after `before` commits, cut the next installation after every number of bytes.
static int check_cuts(uint32_t before) {
    static uint8_t saved[sizeof(memory)];
    struct store store;
    memset(memory, 0xff, sizeof(memory));
    budget = 1 << 30;
    store_open(&store, &flash);
    for (uint32_t i = 0; i < before; i++) {
        CHECK(install(&store, (uint8_t)(i + 1), 3) == KERN_OK);
    }
    memcpy(saved, memory, sizeof(memory));
    uint8_t old = (uint8_t)before, new = (uint8_t)(before + 100);
    for (long cut = 0;; cut += 13) {
        memcpy(memory, saved, sizeof(memory));
        store_open(&store, &flash);
        budget = cut;
        bool whole = install(&store, new, 5) == KERN_OK;
        store_open(&store, &flash);
        bool is_old = before == 0 ? store.state.active == STORE_NO_SLOT : holds(&store, old, 3), is_new = holds(&store, new, 5);
        CHECK(is_old || is_new);
        CHECK(!whole || is_new);
        budget = 1 << 30; // and it goes on from there
        CHECK(install(&store, 77, 4) == KERN_OK);
        store_open(&store, &flash);
        CHECK(holds(&store, 77, 4));
        if (whole) {
            return 0;
        }
    }
}

int main(void) {
    if (check_limits() != 0) {
        return 1;
    }
    for (uint32_t before = 0; before < 2 * STATE_SIZE / STORE_PAGE + 2; before++) {
        if (check_cuts(before) != 0) {
            printf("after %u commits\n", (unsigned)before);
            return 1;
        }
    }
    puts("OK");
    return 0;
}
