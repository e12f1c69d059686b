// First-fit allocator over two bitmaps, one bit for each 16 bytes of the arena: taken, and first of its block.
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

static void set(uint32_t *map, uint32_t unit) {
    map[unit / 32] |= 1u << unit % 32;
}

static void clear(uint32_t *map, uint32_t unit) {
    map[unit / 32] &= ~(1u << unit % 32);
}

void arena_reset(void) {
    memset(taken, 0, sizeof(taken));
    memset(heads, 0, sizeof(heads));
    lowest = FIRST;
}

static void take(uint32_t unit, uint32_t units) {
    if (unit == lowest) {
        lowest = unit + units;
    }
    set(heads, unit);
    for (uint32_t i = 0; i < units; i++) {
        set(taken, unit + i);
    }
}

// The end of the run of free units that starts at or after `*unit`, which moves to its first; UNITS when there is none. Looks
// no further than `enough` units.
static uint32_t next_run(uint32_t *unit, uint32_t enough) {
    while (*unit < UNITS && get(taken, *unit)) {
        *unit += *unit % 32 == 0 && taken[*unit / 32] == ~0u ? 32 : 1;
    }
    uint32_t end = *unit;
    while (end < UNITS && end - *unit < enough && !get(taken, end)) {
        end += end % 32 == 0 && taken[end / 32] == 0 ? 32 : 1;
    }
    return end;
}

uint32_t arena_alloc(uint32_t size) {
    if (size > KERN_ARENA_SIZE) {
        return ARENA_NONE;
    }
    uint32_t units = size == 0 ? 1 : (size + ARENA_ALIGN - 1) / ARENA_ALIGN;
    for (uint32_t unit = lowest, end; unit < UNITS; unit = end) {
        end = next_run(&unit, units);
        if (end - unit >= units) {
            take(unit, units);
            return unit * ARENA_ALIGN;
        }
    }
    return ARENA_NONE;
}

void arena_free(uint32_t offset) {
    uint32_t unit = offset / ARENA_ALIGN;
    lowest = unit < lowest ? unit : lowest;
    clear(heads, unit);
    do {
        clear(taken, unit++);
    } while (unit < UNITS && get(taken, unit) && !get(heads, unit));
}

uint32_t arena_free_bytes(void) {
    uint32_t sum = 0;
    for (uint32_t unit = FIRST, end; unit < UNITS; unit = end) {
        end = next_run(&unit, UNITS);
        sum += end - unit;
    }
    return sum * ARENA_ALIGN;
}

uint32_t arena_largest_free(void) {
    uint32_t most = 0;
    for (uint32_t unit = FIRST, end; unit < UNITS; unit = end) {
        end = next_run(&unit, UNITS);
        if (end - unit > most) {
            most = end - unit;
        }
    }
    return most * ARENA_ALIGN;
}
