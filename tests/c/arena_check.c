// Random allocations, frees and garbage collections of arena.c against a model that has one owner for each 16 bytes.
//
//     arena_check SEED OPERATIONS
//
// Prints OK, or the rule that was broken and the operation after which it was.
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "arena.h"
#include "descriptor.h"

#define UNITS (KERN_ARENA_SIZE / ARENA_ALIGN)
#define RESERVED (-1) // owner of what is not for blocks
#define NOBODY (0)

static int owner[UNITS]; // of each unit: the block's number
static int blocks;       // that were ever made
static uint64_t state;
static uint64_t operation;

#define CHECK(condition) \
    if (!(condition)) { \
        printf("line %d: %s, operation %llu\n", __LINE__, #condition, (unsigned long long)operation); \
        exit(1); \
    }

static uint32_t below(uint32_t bound) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % bound;
}

static void clear(void) {
    for (uint32_t unit = 0; unit < UNITS; unit++) {
        owner[unit] = unit * ARENA_ALIGN < DESCRIPTOR_END ? RESERVED : NOBODY;
    }
}

static bool is_free(uint32_t unit, uint32_t units) {
    for (uint32_t i = 0; i < units; i++) {
        if (unit + i >= UNITS || owner[unit + i] != NOBODY) {
            return false;
        }
    }
    return true;
}

static uint32_t first_fit(uint32_t units) {
    uint32_t unit = 0;
    while (unit < UNITS && !is_free(unit, units)) {
        unit++;
    }
    return unit < UNITS ? unit * ARENA_ALIGN : ARENA_NONE;
}

// Mostly small, with many of the sizes at which words of the bitmaps end.
static uint32_t random_size(void) {
    switch (below(8)) {
        case 0:
            return below(3) * 512 * below(9) + below(3);
        case 1:
            return below(KERN_ARENA_SIZE / 4);
        case 2:
            return below(20) == 0 ? UINT32_MAX - below(20) : below(2 * KERN_ARENA_SIZE);
        default:
            return below(700);
    }
}

static void check_alloc(void) {
    uint32_t size = random_size(), units = size / ARENA_ALIGN + (size % ARENA_ALIGN != 0 || size == 0);
    uint32_t offset = arena_alloc(size);
    CHECK(offset == first_fit(units));
    if (offset != ARENA_NONE) {
        blocks++;
        for (uint32_t i = 0; i < units; i++) {
            owner[offset / ARENA_ALIGN + i] = blocks;
        }
    }
}

static bool starts_block(uint32_t unit) {
    return owner[unit] > NOBODY && owner[unit - 1] != owner[unit];
}

static void disown(int block) {
    for (uint32_t unit = 0; unit < UNITS; unit++) {
        owner[unit] = owner[unit] == block ? NOBODY : owner[unit];
    }
}

static void check_free(void) {
    uint32_t unit = below(UNITS - 1) + 1;
    if (starts_block(unit)) {
        disown(owner[unit]);
        arena_free(unit * ARENA_ALIGN);
    }
}

// Offsets that are marked may lie anywhere: in a block, in the same one again, in free space, before the first block.
static void check_collect(void) {
    static bool in_use[UNITS];
    for (uint32_t unit = 0; unit < UNITS; unit++) {
        in_use[unit] = false;
    }
    for (uint32_t i = below(800); i > 0; i--) {
        uint32_t offset = below(KERN_ARENA_SIZE);
        arena_mark(offset);
        in_use[offset / ARENA_ALIGN] = true;
    }
    arena_sweep();
    for (uint32_t start = 0, end; start < UNITS; start = end) {
        bool marked = false;
        for (end = start; end < UNITS && owner[end] == owner[start]; end++) {
            marked |= in_use[end];
        }
        if (owner[start] > NOBODY && !marked) {
            disown(owner[start]);
        }
    }
}

static void check_room(void) {
    uint32_t sum = 0, largest = 0, run = 0;
    for (uint32_t unit = 0; unit < UNITS; unit++) {
        run = owner[unit] == NOBODY ? run + 1 : 0;
        sum += owner[unit] == NOBODY;
        largest = run > largest ? run : largest;
    }
    struct arena_room room = arena_room();
    CHECK(room.free == sum * ARENA_ALIGN);
    CHECK(room.largest == largest * ARENA_ALIGN);
}

int main(int argc, char **argv) {
    assert(argc == 3);
    state = strtoull(argv[1], NULL, 10);
    uint64_t operations = strtoull(argv[2], NULL, 10);
    clear();
    for (operation = 1; operation <= operations; operation++) {
        uint32_t kind = below(1000), frees = operation / 1000 % 2 ? 700 : 300; // fills up, and empties again
        if (kind == 0) {
            arena_reset();
            clear();
        } else if (kind < 10) {
            check_collect();
        } else if (kind < frees) {
            check_free();
        } else {
            check_alloc();
        }
        check_room();
    }
    arena_sweep();
    clear();
    check_room();
    puts("OK");
}
