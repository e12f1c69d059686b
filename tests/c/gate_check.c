// The board's own decoder and gate, on the PC: `gate_check` reads images from stdin, each a line
//   <length> <key set, hex> <target> <runtime> <counter> <slot size> <private size> <1: has an interpreter>\n
// followed by its bytes, and answers each with a line: "OK" or the error's name, then the field that was wrong.
// The image is copied to a block of exactly its length, so that a sanitizer sees any byte read beyond it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gate.h"
#include "image_walk.h"

static const char *error_name(int error) {
    #define ERROR_NAME(constant, name, parent, code, phrase) if (error == code) { return #name; }
    KERN_ERRORS(ERROR_NAME)
    return error == KERN_OK ? "OK" : "unknown";
}

static bool read_trusted(const char *hex, uint8_t *bytes, struct trusted *trusted) {
    uint32_t size = (uint32_t)strlen(hex) / 2;
    for (uint32_t i = 0; i < size; i++) {
        unsigned byte = 0;
        sscanf(hex + 2 * i, "%2x", &byte);
        bytes[i] = (uint8_t)byte;
    }
    return keyset_open(&trusted->set, bytes, size) == KERN_OK;
}

int main(void) {
    unsigned length, runtime, counter, slot, page, interpreter;
    char hex[2 * KEYSET_MAX_SIZE + 1], target[25];
    uint8_t key_set[KEYSET_MAX_SIZE];
    volatile unsigned sink = 0;
    while (scanf("%u %3871s %24s %u %u %u %u %u", &length, hex, target, &runtime, &counter, &slot, &page, &interpreter) == 8) {
        struct trusted trusted = { 0 };
        struct gate_pack pack;
        struct gate_report report;
        uint8_t *bytes = malloc(length);
        if (getchar() != '\n' || fread(bytes, 1, length, stdin) != length) {
            return 1;
        }
        if (!read_trusted(hex, key_set, &trusted)) {
            return 1;
        }
        struct gate_policy policy = {
            .trusted = &trusted, .target = target, .kernel_abi = 1, .aot_version = 6, .runtime_version = runtime,
            .features = 1, .counter_floor = counter, .max_image_size = slot, .max_private_size = page,
            .interpreter = interpreter != 0,
        };
        int error = gate_verify(bytes, length, &policy, &pack, &report);
        if (error == KERN_OK) {
            sink += image_walk(&pack.image);
        }
        printf("%s %s\n", error_name(error), error == KERN_OK ? "" : report.field);
        fflush(stdout);
        free(bytes);
        if (pack.verified != (error == KERN_OK)) {
            return 2;
        }
    }
    return 0;
}
