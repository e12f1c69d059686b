// The board's store on a flash in memory that can lose power, or fail, at any operation, against a model of what it promises.
//
// - Every pair of cuts: from every situation and every place in the log, each change is cut at every flash operation in every
//   way, then the next installation too. After each cut, a fresh start finds a state that the change may leave.
// - Long random sequences of changes, resets, cuts and faults.
// - Flash that fails without losing power: the error is seen, and the state is as it was.
//
// Prints what was wrong with its line, or OK and the number of cuts.
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

#define SECTOR (2 * STORE_PAGE) // smaller than a chip's, so that the log comes round after a few records
#define SLOT (3 * SECTOR)
#define STATE (2 * SLOT)
#define STATE_SIZE (3 * SECTOR)
#define KEYS (STATE + STATE_SIZE)
#define LOG_PAGES (STATE_SIZE / STORE_PAGE)

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            printf("line %d: %s, in %s\n", __LINE__, #condition, doing); \
            exit(1); \
        } \
    } while (0)

static char doing[160] = "the beginning"; // for the message when a check fails
static uint32_t random_state = 1;

static uint32_t random_below(uint32_t limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % limit;
}

// ---- the flash ----

// What becomes of the operation that something happens at. The cuts end in `power`, the faults return to the store. After the weak
// ones the cells are at the border: read as done, or as undone, after the next start, and in part the other way after the one that
// follows.
enum outcome {
    CUT_UNDONE, CUT_FRONT, CUT_SOME_BITS, CUT_MOST_BITS, CUT_DONE, CUT_WEAK_DONE, CUT_WEAK_UNDONE, CUTS,
    FAULT_TOLD = CUTS, FAULT_SILENT, FAULT_TOLD_THOUGH_DONE, OUTCOMES,
};

struct board {
    uint8_t memory[KEYS + STORE_KEY_AREAS * SECTOR];
    struct {
        uint32_t starts; // until weak cells show, 0: there are none
        uint32_t offset, size;
        bool clears;     // they go from 1 to 0
        uint8_t other[SECTOR]; // where they tend to
    } weak;
};

static struct board board;
static jmp_buf power;
static uint32_t countdown; // operations until `outcome`, 0: never
static enum outcome outcome;
static uint32_t cuts;

static uint8_t become(uint8_t old, const uint8_t *to) {
    return to == NULL ? 0xff : old & *to; // programming only clears bits
}

static void note_weak(uint32_t offset, uint32_t size, const uint8_t *to, enum outcome here) {
    if (here == CUT_WEAK_DONE || here == CUT_WEAK_UNDONE) {
        board.weak.starts = 2;
        board.weak.offset = offset;
        board.weak.size = size;
        board.weak.clears = (to != NULL) == (here == CUT_WEAK_UNDONE);
        for (uint32_t i = 0; i < size; i++) {
            uint8_t old = board.memory[offset + i];
            board.weak.other[i] = here == CUT_WEAK_DONE ? old : become(old, to == NULL ? NULL : to + i);
        }
    } else if (to == NULL && offset <= board.weak.offset && board.weak.offset < offset + size) {
        board.weak.starts = 0; // erased
    }
}

// Change bytes to what is at `to`, or to blank when NULL, as far as the outcome says.
static bool operate(uint32_t offset, uint32_t size, const uint8_t *to) {
    enum outcome here = countdown != 0 && --countdown == 0 ? outcome : OUTCOMES;
    uint32_t front = here == CUT_FRONT ? 1 + random_below(size - 1) : size;
    bool none = here == CUT_UNDONE || here == CUT_WEAK_UNDONE || here == FAULT_TOLD || here == FAULT_SILENT;
    note_weak(offset, size, to, here);
    for (uint32_t i = 0; i < front && !none; i++) {
        uint8_t reached = here == CUT_SOME_BITS ? (uint8_t)random_below(256)
            : here == CUT_MOST_BITS ? (uint8_t)(random_below(256) | random_below(256) | random_below(256) | random_below(256))
            : 0xff;
        uint8_t *byte = &board.memory[offset + i];
        *byte = (*byte & ~reached) | (become(*byte, to == NULL ? NULL : to + i) & reached);
    }
    if (here < CUTS) {
        cuts++;
        longjmp(power, 1);
    }
    return here != FAULT_TOLD && here != FAULT_TOLD_THOUGH_DONE;
}

static bool erase(uint32_t offset, uint32_t size) {
    CHECK(offset % SECTOR == 0 && size == SECTOR && offset + size <= sizeof(board.memory));
    return operate(offset, size, NULL);
}

static bool program(uint32_t offset, const uint8_t *data, uint32_t size) {
    CHECK(offset % STORE_PAGE == 0 && size == STORE_PAGE && offset + size <= sizeof(board.memory));
    return operate(offset, size, data);
}

static const struct store_flash flash = {
    .memory = board.memory, .sector = SECTOR, .slots = { 0, SLOT }, .slot_size = SLOT, .state = STATE, .state_size = STATE_SIZE,
    .keys = KEYS, .erase = erase, .program = program,
};

static void start(struct store *store) {
    if (board.weak.starts != 0 && --board.weak.starts == 0) {
        for (uint32_t i = 0; i < board.weak.size; i++) {
            uint8_t *byte = &board.memory[board.weak.offset + i], other = board.weak.other[i], some = (uint8_t)random_below(256);
            *byte = board.weak.clears ? *byte & (other | some) : *byte | (other & some);
        }
    }
    store_open(store, &flash);
}

// ---- the model ----

// An image of pages that all hold `mark`, which is its security counter too. No pages: none.
struct image {
    uint32_t mark, pages;
};

struct model {
    struct image active, previous;
    bool trial;
    uint32_t counter;
    uint32_t keys_mark, keys_size;
};

enum kind { INSTALL, TRY, CONFIRM, ROLLBACK, RELEASE, KEYS_WRITE, KINDS };

struct change {
    enum kind kind;
    struct image image; // of INSTALL and TRY; KEYS_WRITE writes its mark as often as it has pages
};

#define MOST_STEPS (3)

// The states that a change goes through, first the one it begins with. Returns what the store has to return.
static int predict(const struct model *before, const struct change *change, struct model steps[MOST_STEPS], uint32_t *count) {
    struct model now = *before;
    int error = KERN_OK;
    *count = 0;
    steps[(*count)++] = now;
    switch (change->kind) {
        case INSTALL:
        case TRY:
            if (now.trial) {
                return KERN_PACK_ON_TRIAL;
            }
            now.previous = (struct image) { 0 };
            steps[(*count)++] = now;
            now.previous = now.active;
            now.active = change->image;
            now.trial = change->kind == TRY;
            break;
        case CONFIRM:
            now.trial = false;
            break;
        case ROLLBACK:
            if (now.previous.pages == 0) {
                return KERN_NO_PREVIOUS_PACK;
            }
            now.active = before->previous;
            now.previous = before->trial ? (struct image) { 0 } : before->active;
            now.trial = false;
            break;
        case RELEASE:
            if (now.trial) {
                return KERN_PACK_ON_TRIAL;
            }
            now.previous = (struct image) { 0 };
            break;
        default:
            now.keys_mark = change->image.mark;
            now.keys_size = change->image.pages;
    }
    bool confirms = change->kind == INSTALL || (change->kind == CONFIRM && before->trial);
    if (confirms && now.counter < now.active.mark) {
        now.counter = now.active.mark;
    }
    steps[(*count)++] = now;
    return error;
}

static struct model after_reset(struct model model) {
    if (model.trial) {
        model.active = model.previous;
        model.previous = (struct image) { 0 };
        model.trial = false;
    }
    return model;
}

// ---- the store ----

static int install(struct store *store, struct image image, bool confirmed) {
    uint8_t page[STORE_PAGE];
    memset(page, (int)image.mark, sizeof(page));
    int error = store_begin(store);
    for (uint32_t i = 0; i < image.pages && error == KERN_OK; i++) {
        error = store_write(store, page);
    }
    return error == KERN_OK ? store_commit(store, image.pages * STORE_PAGE, image.mark, confirmed) : error;
}

static int make(struct store *store, const struct change *change) {
    uint8_t keys[SECTOR];
    switch (change->kind) {
        case INSTALL:
        case TRY:
            return install(store, change->image, change->kind == INSTALL);
        case CONFIRM:
            return store_confirm(store, store->state.active == STORE_NONE ? 0 : *store_slot(store, store->state.active));
        case ROLLBACK:
            return store_rollback(store);
        case RELEASE:
            return store_release(store);
        default:
            memset(keys, (int)change->image.mark, sizeof(keys));
            return store_keys_write(store, keys, change->image.pages);
    }
}

static bool filled(const uint8_t *p, uint32_t mark, uint32_t size) {
    for (uint32_t i = 0; i < size; i++) {
        if (p[i] != mark) {
            return false;
        }
    }
    return true;
}

static bool slot_holds(const struct store *store, uint32_t slot, struct image image) {
    if (slot == STORE_NONE) {
        return image.pages == 0;
    }
    return store->state.sizes[slot] == image.pages * STORE_PAGE && filled(store_slot(store, slot), image.mark, image.pages * STORE_PAGE);
}

// Whether the store says, and its flash holds, just what the model does.
static bool agrees(const struct store *store, const struct model *model) {
    const struct store_state *state = &store->state;
    uint32_t size;
    const uint8_t *keys = store_keys(store, &size);
    return slot_holds(store, state->active, model->active) && slot_holds(store, state->previous, model->previous)
           && state->confirmed == !model->trial && state->counter == model->counter
           && size == model->keys_size && (keys == NULL ? size == 0 : filled(keys, model->keys_mark, size));
}

static void change_whole(struct store *store, struct model *model, const struct change *change) {
    struct model steps[MOST_STEPS];
    uint32_t count;
    int expected = predict(model, change, steps, &count);
    CHECK(make(store, change) == expected);
    *model = steps[count - 1];
    CHECK(agrees(store, model));
}

static void reset(struct store *store, struct model *model) {
    start(store);
    *model = after_reset(*model);
    CHECK(agrees(store, model));
}

// The last of these states that the board is in after a reset. False when it is in none.
static bool find(const struct store *store, const struct model *states, uint32_t count, struct model *found) {
    while (count-- > 0) {
        *found = after_reset(states[count]);
        if (agrees(store, found)) {
            return true;
        }
    }
    return false;
}

// Make the change with the outcome at that flash operation. False when it has fewer operations, and was made whole. After a cut the
// store has been opened anew, after a fault it has not; the model is what was found. `earlier` are states that it may fall back to
// when the cut before was a weak one.
static bool change_disturbed(struct store *store, struct model *model, const struct change *change, uint32_t operation, enum outcome what,
    const struct model *earlier, uint32_t earlier_count) {
    struct model steps[MOST_STEPS];
    uint32_t count;
    (void)predict(model, change, steps, &count);
    countdown = operation;
    outcome = what;
    if (setjmp(power) != 0) {
        start(store);
        CHECK(find(store, steps, count, model) || find(store, earlier, earlier_count, model));
        return true;
    }
    int error = make(store, change);
    bool disturbed = countdown == 0;
    countdown = 0;
    // An erase that did nothing is no fault where there was nothing to erase.
    CHECK(!disturbed || error == KERN_FLASH_ERROR || (what == FAULT_SILENT && error == KERN_OK));
    if (!disturbed || error == KERN_OK) {
        *model = steps[count - 1];
    } else {
        // What is wiped for an installation that fails is gone; else nothing changed.
        *model = count == MOST_STEPS && store->state.previous == STORE_NONE ? steps[1] : steps[0];
    }
    CHECK(agrees(store, model));
    return disturbed;
}

// ---- every cut, and every pair of cuts ----

static const struct change first = { INSTALL, { 1, 3 } }, second = { INSTALL, { 2, 5 } }, trial = { TRY, { 3, 4 } },
    next = { INSTALL, { 4, 6 } }, last = { INSTALL, { 5, 1 } }, go_back = { ROLLBACK, { 0, 0 } }, release = { RELEASE, { 0, 0 } },
    key_set = { KEYS_WRITE, { 9, 300 } };

// What the board has been through when a change begins; NULL ends it, and the last three are followed by a reset.
static const struct change *const situations[][4] = {
    { NULL }, { &first }, { &first, &second }, { &first, &trial }, { &trial }, { &first, &second, &go_back },
    { &first, &second, &release }, { &first, &second, &trial }, { &first, &trial, &go_back },
    { &first, &trial }, { &trial }, { &first, &second },
};
#define SITUATIONS (sizeof(situations) / sizeof(situations[0]))
#define WITHOUT_RESET (SITUATIONS - 3)

static void bring_about(struct store *store, struct model *model, uint32_t situation, uint32_t records) {
    memset(&board, 0, sizeof(board));
    memset(board.memory, 0xff, sizeof(board.memory));
    memset(model, 0, sizeof(*model));
    start(store);
    for (uint32_t i = 0; i < records; i++) {
        change_whole(store, model, &key_set);
    }
    for (uint32_t i = 0; i < 4 && situations[situation][i] != NULL; i++) {
        change_whole(store, model, situations[situation][i]);
    }
    if (situation >= WITHOUT_RESET) {
        reset(store, model);
    }
}

// From where the first cut left the board, cut the next change at every operation too; then an installation is left in peace.
static void check_second_cuts(const struct store *left, const struct model *model, const struct change *change,
    const struct model *earlier, uint32_t earlier_count) {
    static struct board saved;
    size_t length = strlen(doing);
    saved = board;
    for (uint32_t what = 0; what < CUTS; what++) {
        bool more = true;
        for (uint32_t operation = 1; more; operation++) {
            struct store store = *left;
            struct model now = *model;
            board = saved;
            snprintf(doing + length, sizeof(doing) - length, "; then operation %u, outcome %u", (unsigned)operation, (unsigned)what);
            more = change_disturbed(&store, &now, change, operation, what, earlier, earlier_count);
            change_whole(&store, &now, &last);
            reset(&store, &now);
        }
    }
    board = saved;
}

static void check_cuts(uint32_t situation, uint32_t records, const struct change *change) {
    for (uint32_t what = 0; what < CUTS; what++) {
        bool more = true;
        for (uint32_t operation = 1; more; operation++) {
            struct store store;
            struct model model, steps[MOST_STEPS];
            uint32_t count;
            bring_about(&store, &model, situation, records);
            snprintf(doing, sizeof(doing), "situation %u after %u records: change %u, operation %u, outcome %u", (unsigned)situation,
                (unsigned)records, change->kind, (unsigned)operation, (unsigned)what);
            (void)predict(&model, change, steps, &count);
            more = change_disturbed(&store, &model, change, operation, what, NULL, 0);
            if (more) {
                bool weak = what == CUT_WEAK_DONE || what == CUT_WEAK_UNDONE;
                check_second_cuts(&store, &model, &next, steps, weak ? count : 0);
                if (weak) {
                    check_second_cuts(&store, &model, &key_set, steps, count);
                }
            }
        }
    }
}

static void check_faults(uint32_t situation, uint32_t records, const struct change *change) {
    for (uint32_t what = CUTS; what < OUTCOMES; what++) {
        bool more = true;
        for (uint32_t operation = 1; more; operation++) {
            struct store store;
            struct model model;
            bring_about(&store, &model, situation, records);
            more = change_disturbed(&store, &model, change, operation, what, NULL, 0);
            change_whole(&store, &model, &key_set); // counts from now on, whatever the fault left in the log
            reset(&store, &model);
            change_whole(&store, &model, &last);
        }
    }
}

static void check_every_change(void) {
    static const struct change changes[KINDS] = {
        { INSTALL, { 6, 5 } }, { TRY, { 7, 5 } }, { CONFIRM, { 0, 0 } }, { ROLLBACK, { 0, 0 } }, { RELEASE, { 0, 0 } }, { KEYS_WRITE, { 8, 400 } },
    };
    for (uint32_t situation = 0; situation < SITUATIONS; situation++) {
        for (uint32_t records = 0; records < LOG_PAGES; records++) {
            for (uint32_t kind = 0; kind < KINDS; kind++) {
                check_cuts(situation, records, &changes[kind]);
                check_faults(situation, records, &changes[kind]);
            }
        }
    }
}

// ---- long random sequences ----

static void check_at_random(uint32_t changes) {
    struct store store;
    struct model model;
    bring_about(&store, &model, 0, 0);
    for (uint32_t i = 0; i < changes; i++) {
        uint32_t kind = random_below(KINDS), most = kind == KEYS_WRITE ? SECTOR : SLOT / STORE_PAGE;
        struct change change = { kind, { 1 + random_below(200), 1 + random_below(most) } };
        switch (random_below(4)) {
            case 0:
                (void)change_disturbed(&store, &model, &change, 1 + random_below(16), random_below(CUT_DONE + 1), NULL, 0);
                break;
            case 1:
                reset(&store, &model);
                break;
            default:
                change_whole(&store, &model, &change);
        }
    }
}

// ---- what is asked for in vain, and what no store wrote ----

static void check_limits(void) {
    struct store store;
    struct model model;
    uint8_t page[STORE_PAGE] = { 0 }, keys[SECTOR + 1] = { 0 };
    bring_about(&store, &model, 0, 0);
    CHECK(store.state.active == STORE_NONE && store_idle(&store) == 0);
    CHECK(store_write(&store, page) == KERN_FLASH_ERROR); // not begun
    CHECK(store_commit(&store, 0, 0, true) == KERN_FLASH_ERROR);
    change_whole(&store, &model, &(struct change) { INSTALL, { 1, SLOT / STORE_PAGE } });
    CHECK(install(&store, (struct image) { 2, SLOT / STORE_PAGE + 1 }, true) == KERN_PACK_TOO_LARGE && agrees(&store, &model));
    CHECK(store_begin(&store) == KERN_OK && store_write(&store, page) == KERN_OK);
    CHECK(store_commit(&store, STORE_PAGE + 1, 0, true) == KERN_FLASH_ERROR); // more than was written
    CHECK(store_keys_write(&store, keys, sizeof(keys)) == KERN_PACK_TOO_LARGE && agrees(&store, &model));
}

// A page that was begun and left says nothing about the previous image: it is given up before the first erase only.
static void check_abandoned(void) {
    struct store store;
    struct model model;
    uint8_t page[STORE_PAGE] = { 0 };
    bring_about(&store, &model, 2, 0);
    CHECK(store_begin(&store) == KERN_OK && agrees(&store, &model));
    CHECK(store_write(&store, page) == KERN_OK);
    model.previous = (struct image) { 0 };
    reset(&store, &model);
}

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

// Set one word of the newest record to a value that no store writes, with the right CRC: the one before counts.
static void check_impossible_records(void) {
    static const struct { uint32_t word, value; } impossible[] = {
        { 0, 0 }, { 2, STORE_SLOTS }, { 3, STORE_SLOTS }, { 5, SLOT + 1 }, { 6, SLOT + 1 }, { 8, STORE_KEY_AREAS }, { 9, SECTOR + 1 },
    };
    for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++) {
        struct store store;
        struct model model;
        uint32_t words[11];
        bring_about(&store, &model, 1, 0);
        memcpy(words, board.memory + STATE + STORE_PAGE, sizeof(words));
        words[impossible[i].word] = impossible[i].value;
        words[10] = crc32((const uint8_t *)words, sizeof(words) - sizeof(words[0]));
        memcpy(board.memory + STATE + STORE_PAGE, words, sizeof(words));
        start(&store);
        CHECK(store.state.sequence == 1 && store.state.active == STORE_NONE);
    }
}

int main(void) {
    check_limits();
    check_abandoned();
    check_impossible_records();
    check_every_change();
    check_at_random(200000);
    printf("OK, %u cuts\n", (unsigned)cuts);
    return 0;
}
