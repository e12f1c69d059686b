// The board's decoder of key sets on the PC: reads lines of <trusted> <superseded> <key set>, images in hex ("-" for none), and
// answers each with "OK" or the error's name, then what was wrong. Each image is copied to a block of exactly its length, so that
// a sanitizer sees any byte read beyond it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keyset.h"

#define LINE (1 << 14)

struct block {
    uint8_t *bytes;
    uint32_t size;
};

static const char *error_name(int error) {
    #define ERROR_NAME(constant, name, parent, code, phrase) if (error == code) { return #name; }
    KERN_ERRORS(ERROR_NAME)
    return error == KERN_OK ? "OK" : "unknown";
}

static struct block from_hex(const char *hex) {
    struct block block = { .size = hex[0] == '-' ? 0 : (uint32_t)strlen(hex) / 2 };
    block.bytes = malloc(block.size);
    for (uint32_t i = 0; i < block.size; i++) {
        unsigned byte = 0;
        sscanf(hex + 2 * i, "%2x", &byte);
        block.bytes[i] = (uint8_t)byte;
    }
    return block;
}

static bool open_set(struct keyset *set, struct block block) {
    *set = (struct keyset) { 0 };
    return block.size == 0 || keyset_open(set, block.bytes, block.size) == KERN_OK;
}

// What a set that was accepted lets the firmware read, read.
static bool is_sound(const struct keyset *set) {
    bool sound = set->key_count >= set->threshold && set->signed_size <= set->size;
    for (uint32_t i = 0; i < set->key_count; i++) {
        uint8_t id[KEYSET_ID_SIZE];
        keyset_key_id(set, i, id);
        sound &= !keyset_revokes(set, id);
    }
    for (uint32_t i = 0; i < set->revoked_count; i++) {
        sound &= keyset_revokes(set, keyset_revoked(set, i));
    }
    return sound;
}

int main(void) {
    static char lines[3][LINE + 1];
    while (scanf("%16384s %16384s %16384s", lines[0], lines[1], lines[2]) == 3) {
        struct block blocks[3] = { from_hex(lines[0]), from_hex(lines[1]), from_hex(lines[2]) };
        struct trusted trusted;
        struct keyset next;
        const char *field = "";
        if (!open_set(&trusted.set, blocks[0]) || !open_set(&trusted.superseded, blocks[1])) {
            return 1;
        }
        int error = keyset_accept(&trusted, blocks[2].bytes, blocks[2].size, &next, &field);
        printf("%s %s\n", error_name(error), field);
        if ((error == KERN_OK) != (next.bytes != NULL) || !is_sound(&next)) {
            return 2;
        }
        for (int i = 0; i < 3; i++) {
            free(blocks[i].bytes);
        }
    }
    return 0;
}
