// First-fit allocator over two bitmaps, one bit for each 16 bytes of the arena: taken, and first of its block. A first unit that
// is not taken is that of a marked block.
#include "arena.h"
#include "descriptor.h"

#include <stdbool.h>
#include <string.h>

#define FIRST ((DESCRIPTOR_END + ARENA_ALIGN - 1) / ARENA_ALIGN) // behind the private page and the places for descriptors
#define UNITS (KERN_ARENA_SIZE / ARENA_ALIGN)

_Static_assert(KERN_KERNEL_PAGE % ARENA_ALIGN == 0 && UNITS % 32 == 0, "the bitmaps cover the arena");

static uint32_t taken[UNITS / 32];
static uint32_t heads[UNITS / 32];
static uint32_t lowest = FIRST; // no unit below it is free

static bool get(const uint32_t *map, uint32_t unit) {
    return map[unit / 32] >> unit % 32 & 1;
}

static void flip(uint32_t *map, uint32_t unit) {
    map[unit / 32] ^= 1u << unit % 32;
}

// Make the bits of the units from `unit` to `end` that value.
static void fill(uint32_t *map, uint32_t unit, uint32_t end, bool value) {
    while (unit < end) {
        uint32_t bit = unit % 32, count = end - unit < 32 - bit ? end - unit : 32 - bit;
        uint32_t mask = ~0u >> (32 - count) << bit, *word = &map[unit / 32];
        *word = value ? *word | mask : *word & ~mask;
        unit += count;
    }
}

// The first unit from `unit` on with that bit, or `end`.
static uint32_t find(const uint32_t *map, bool value, uint32_t unit, uint32_t end) {
    while (unit < end) {
        uint32_t word = (value ? map[unit / 32] : ~map[unit / 32]) >> unit % 32;
        if (word == 0) {
            unit += 32 - unit % 32;
            continue;
        }
        for (; (word & 1) == 0; word >>= 1) {
            unit++;
        }
        break;
    }
    return unit < end ? unit : end;
}

void arena_reset(void) {
    memset(taken, 0, sizeof(taken));
    memset(heads, 0, sizeof(heads));
    lowest = FIRST;
}

uint32_t arena_alloc(uint32_t size) {
    if (size > KERN_ARENA_SIZE) {
        return ARENA_NONE;
    }
    uint32_t units = size == 0 ? 1 : (size + ARENA_ALIGN - 1) / ARENA_ALIGN;
    lowest = find(taken, false, lowest, UNITS);
    for (uint32_t unit = lowest, end; unit + units <= UNITS; unit = find(taken, false, end, UNITS)) {
        end = find(taken, true, unit, unit + units);
        if (end == unit + units) {
            flip(heads, unit);
            fill(taken, unit, end, true);
            return unit * ARENA_ALIGN;
        }
    }
    return ARENA_NONE;
}

void arena_free(uint32_t offset) {
    uint32_t unit = offset / ARENA_ALIGN;
    uint32_t end = find(heads, true, unit + 1, find(taken, false, unit + 1, UNITS));
    flip(heads, unit);
    fill(taken, unit, end, false);
    lowest = unit < lowest ? unit : lowest;
}

void arena_mark(uint32_t offset) {
    uint32_t unit = offset / ARENA_ALIGN;
    while (!get(heads, unit)) {
        if (!get(taken, unit--)) {
            return;
        }
    }
    if (get(taken, unit)) {
        flip(taken, unit);
    }
}

void arena_sweep(void) {
    for (uint32_t unit = FIRST; (unit = find(heads, true, unit, UNITS)) < UNITS; unit++) {
        if (get(taken, unit)) {
            arena_free(unit * ARENA_ALIGN);
        } else {
            flip(taken, unit);
        }
    }
}

struct arena_room arena_room(void) {
    struct arena_room room = { 0 };
    for (uint32_t unit = FIRST, end; (unit = find(taken, false, unit, UNITS)) < UNITS; unit = end) {
        end = find(taken, true, unit, UNITS);
        uint32_t bytes = (end - unit) * ARENA_ALIGN;
        room.free += bytes;
        room.largest = bytes > room.largest ? bytes : room.largest;
    }
    return room;
}
