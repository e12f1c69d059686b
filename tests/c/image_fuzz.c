// libFuzzer's target for the board's decoders and gate: tools/fuzz.py builds and runs it. An input is a board image, or a key
// set if it begins like one.
//
// Two things would stop nearly every mutated input before it got anywhere. The signature does not here: this file has an
// ed25519_check of its own that takes any but one of zeros, so all that is behind it sees what a thief of the
// key could sign. The bodies' hashes are checked for real; where only they are wrong they are put right, and the gate is
// asked again. That makes the whole gate reachable from one input, and an input says all there is to know about a run.
// What the format's sizes and counts would stop besides, the mutator at the end keeps right.
#include <stdlib.h>

#include "ed25519.h"
#include "gate.h"
#include "image_walk.h"
#include "sha256.h"

// Of docs/board-image.md, what the mutator changes.
#define IMAGE_SIZE_AT (8)
#define TABLE_SIZE_AT (12)
#define RECORD_SIZE (184) // without its lists
#define COUNTS_AT (2)     // of the three lists
#define BODY_OFFSET_AT (20)
#define ALIGN (16)

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

static const uint8_t key_set[] = { GATE_KEY_SET };
static struct trusted trusted;
static const struct gate_policy policy = {
    .trusted = &trusted, .target = GATE_TARGET, .kernel_abi = GATE_ABI, .aot_version = GATE_AOT_VERSION,
    .runtime_version = GATE_RUNTIME_VERSION, .features = GATE_FEATURES, .counter_floor = GATE_COUNTER_FLOOR,
    .max_image_size = GATE_IMAGE_SIZE, .max_private_size = GATE_PRIVATE_SIZE,
};

static volatile unsigned sink;

static bool is_set(const uint8_t *data, size_t size) {
    return size >= 4 && memcmp(data, "KSET", 4) == 0;
}

// Takes every signature with a bit set. Reads all that the real one reads.
bool ed25519_check(const uint8_t signature[64], const uint8_t public_key[32], const uint8_t *message, uint32_t size) {
    uint8_t any = 0;
    for (size_t i = 0; i < 64; i++) {
        any |= signature[i];
    }
    for (size_t i = 0; i < 32; i++) {
        sink += public_key[i];
    }
    for (uint32_t i = 0; i < size; i++) {
        sink += message[i];
    }
    return any != 0;
}

// gate_verify, with what gate.h promises of its results.
static int verify(const uint8_t *bytes, uint32_t length, struct gate_pack *pack) {
    struct gate_report report;
    int result = gate_verify(bytes, length, &policy, pack, &report);
    assert(pack->verified == (result == KERN_OK));
    if (result == KERN_OK) {
        assert(pack->image.bytes == bytes && pack->image.size == length);
        sink += image_walk(&pack->image);
    } else {
        assert(pack->image.bytes == NULL && pack->image.size == 0 && pack->image.kernel_count == 0);
        assert(report.field != NULL && (report.text_required == NULL) == (report.text_actual == NULL));
        sink += (unsigned)strlen(report.field);
        sink += report.text_actual == NULL ? 0 : (unsigned)(strlen(report.text_required) + strlen(report.text_actual));
    }
    return result;
}

static void write_hashes(const struct image *image, uint8_t *bytes) {
    for (uint32_t i = 0; i < image->kernel_count; i++) {
        struct image_kernel kernel = image_kernel(image, i);
        sha256(kernel.body, kernel.body_size, bytes + (kernel.body_sha256 - bytes));
    }
}

// A bit of the last body flipped in an image that was verified.
static void check_that_bodies_are_hashed(const struct image *image, uint8_t *bytes) {
    struct gate_pack pack;
    struct image_kernel last = image_kernel(image, image->kernel_count - 1);
    bytes[last.body - bytes] ^= 1;
    int result = verify(bytes, image->size, &pack);
    assert(result == KERN_HASH_MISMATCH);
}

static void fuzz_image(uint8_t *bytes, uint32_t length) {
    struct image image;
    struct gate_pack pack;
    const char *field = NULL;
    bool opened = image_open(&image, bytes, length) == KERN_OK;
    bool checked = opened && image_check(&image, &field) == KERN_OK;
    assert((opened && !checked) == (field != NULL));
    if (checked) {
        sink += image_walk(&image);
    }
    int result = verify(bytes, length, &pack);
    assert(checked ? result != KERN_MALFORMED_PACK : result != KERN_OK);
    if (result == KERN_HASH_MISMATCH) {
        write_hashes(&image, bytes);
        result = verify(bytes, length, &pack);
        assert(result == KERN_OK);
    }
    if (result == KERN_OK) {
        check_that_bodies_are_hashed(&image, bytes);
    }
}

// ---- key sets ----

static bool all_zero(const struct keyset *set) {
    static const struct keyset none;
    return memcmp(set, &none, sizeof(none)) == 0;
}

static void walk_set(const struct keyset *set, const uint8_t *bytes, uint32_t length) {
    uint8_t id[KEYSET_ID_SIZE];
    assert(set->bytes == bytes && set->size == length && set->signed_size <= length && set->size <= KEYSET_MAX_SIZE);
    assert(set->threshold >= 1 && set->threshold <= set->key_count && set->key_count <= KEYSET_MAX_KEYS);
    assert(set->revoked_count <= KEYSET_MAX_REVOKED && set->signature_count <= KEYSET_MAX_SIGNATURES);
    assert(set->signed_size + set->signature_count * KEYSET_SIGNATURE_SIZE == length);
    for (uint32_t i = 0; i < set->revoked_count; i++) {
        assert(keyset_revokes(set, keyset_revoked(set, i)));
    }
    for (uint32_t i = 0; i < set->key_count; i++) {
        keyset_key_id(set, i, id);
        assert(!keyset_revokes(set, id));
    }
}

// A following set is accepted only with a higher version, and when it revokes all that was revoked.
static void fuzz_set(const uint8_t *bytes, uint32_t length) {
    struct keyset opened, next;
    const char *field = NULL;
    bool well_formed = keyset_open(&opened, bytes, length) == KERN_OK;
    int result = keyset_accept(&trusted, bytes, length, &next, &field);
    assert(field != NULL && (result == KERN_MALFORMED_PACK) == !well_formed && (result == KERN_OK) == !all_zero(&next));
    assert(well_formed || all_zero(&opened));
    if (well_formed) {
        walk_set(&opened, bytes, length);
    }
    if (result == KERN_OK) {
        walk_set(&next, bytes, length);
        assert(next.version > trusted.set.version && next.signature_count >= 1);
        for (uint32_t i = 0; i < trusted.set.revoked_count; i++) {
            assert(keyset_revokes(&next, keyset_revoked(&trusted.set, i)));
        }
    }
}

// ---- mutating images ----

static uint32_t get(const uint8_t *p, size_t bytes) {
    uint32_t value = 0;
    while (bytes-- > 0) {
        value = value << 8 | p[bytes];
    }
    return value;
}

static void put(uint8_t *p, size_t bytes, size_t value) {
    for (; bytes-- > 0; value >>= 8) {
        *p++ = (uint8_t)value;
    }
}

static size_t align(size_t size) {
    return (size + ALIGN - 1) / ALIGN * ALIGN;
}

// `grown` bytes more from `at` on, which repeat those that are there; signature and bodies move behind the longer table.
// Returns the new size, or 0 when there is no room.
static size_t lengthen_table(const struct image *image, uint8_t *data, size_t max_size, size_t at, size_t grown) {
    size_t end = image_signed_size(image) + IMAGE_SIGNATURE_SIZE, bodies = align(end), moved = align(end + grown) - bodies;
    if (image->size + moved > max_size) {
        return 0;
    }
    memmove(data + bodies + moved, data + bodies, image->size - bodies);
    memmove(data + at + grown, data + at, end - at);
    memset(data + end + grown, 0, bodies + moved - end - grown);
    put(data + IMAGE_SIZE_AT, 4, image->size + moved);
    put(data + TABLE_SIZE_AT, 4, image->table_size + grown);
    return image->size + moved;
}

// Repeats a symbol, tensor or param of a kernel, and makes every size, count and offset right. `data` was run before, so
// the decoder can be trusted with it here.
static size_t repeat_element(uint8_t *data, size_t size, size_t max_size, unsigned choice) {
    static const uint8_t element_sizes[] = { 20, 36, 24 };
    struct image image;
    const char *field;
    if (image_open(&image, data, (uint32_t)size) != KERN_OK || image_check(&image, &field) != KERN_OK) {
        return 0;
    }
    uint8_t *record = data + (image_kernel(&image, choice / 64 % image.kernel_count).record - data);
    uint8_t *counts = record + COUNTS_AT, list = choice / 16 % 3, grown = element_sizes[list];
    if (counts[list] == 0) {
        return 0;
    }
    size_t at = (size_t)(record - data) + RECORD_SIZE + grown * (choice % counts[list]);
    for (uint8_t before = 0; before < list; before++) {
        at += element_sizes[before] * counts[before];
    }
    size_t lengthened = lengthen_table(&image, data, max_size, at, grown);
    if (lengthened != 0) {
        counts[list]++;
        put(record, 2, get(record, 2) + grown);
        uint8_t *each = data + IMAGE_HEADER_SIZE;
        for (uint32_t i = 0; i < image.kernel_count; i++, each += get(each, 2)) {
            put(each + BODY_OFFSET_AT, 4, get(each + BODY_OFFSET_AT, 4) + lengthened - size);
        }
    }
    return lengthened;
}

// libFuzzer's own mutations change bytes or the length. A changed length would end at the first check of the image's size,
// so that field is kept true but for one mutation in 16; one in 8 makes a list longer, for which too many fields would
// have to change at once. The rest the fuzzer finds out: it sees what the decoder compares its numbers with.
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    if (is_set(data, size)) {
        return LLVMFuzzerMutate(data, size, max_size);
    }
    size_t lengthened = seed % 8 == 1 ? repeat_element(data, size, max_size, seed / 8) : 0;
    if (lengthened != 0) {
        return lengthened;
    }
    size = LLVMFuzzerMutate(data, size, max_size);
    if (seed % 16 != 0 && size >= IMAGE_HEADER_SIZE) {
        size -= size % ALIGN;
        put(data + IMAGE_SIZE_AT, 4, size);
    }
    return size;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    int result = keyset_open(&trusted.set, key_set, sizeof(key_set));
    assert(result == KERN_OK);
    return 0;
}

// The input in a block of exactly its length: a sanitizer sees any byte read beyond it.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *bytes = malloc(size);
    if (size > 0) {
        memcpy(bytes, data, size);
    }
    if (is_set(bytes, size)) {
        fuzz_set(bytes, (uint32_t)size);
    } else {
        fuzz_image(bytes, (uint32_t)size);
    }
    free(bytes);
    return 0;
}
