// The board's own decoder and gate, on the PC: `gate_check` reads images from stdin, each a line
//   <length> <public key, hex> <target> <runtime> <counter> <slot size> <private size>\n
// followed by its bytes, and answers each with a line: "OK" or the error's name, then the field that was wrong.
// The image is copied to a block of exactly its length, so that a sanitizer sees any byte read beyond it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gate.h"
#include "image_walk.h"
#include "mbedtls/sha256.h"

static const char *error_name(int error) {
    #define ERROR_NAME(constant, name, parent, code, phrase) if (error == code) { return #name; }
    KERN_ERRORS(ERROR_NAME)
    return error == KERN_OK ? "OK" : "unknown";
}

static void read_key(const char *hex, struct gate_key *key) {
    uint8_t digest[32];
    for (size_t i = 0; i < sizeof(key->public_key); i++) {
        unsigned byte = 0;
        sscanf(hex + 2 * i, "%2x", &byte);
        key->public_key[i] = (uint8_t)byte;
    }
    mbedtls_sha256(key->public_key, sizeof(key->public_key), digest, 0);
    memcpy(key->id, digest, sizeof(key->id));
}

int main(void) {
    unsigned length, runtime, counter, slot, page;
    char hex[65], target[25];
    volatile unsigned sink = 0;
    while (scanf("%u %64s %24s %u %u %u %u", &length, hex, target, &runtime, &counter, &slot, &page) == 7) {
        struct gate_key key;
        struct gate_pack pack;
        struct gate_report report;
        uint8_t *bytes = malloc(length);
        if (getchar() != '\n' || fread(bytes, 1, length, stdin) != length) {
            return 1;
        }
        read_key(hex, &key);
        struct gate_policy policy = {
            .keys = &key, .key_count = 1, .target = target, .kernel_abi = 1, .aot_version = 6, .runtime_version = runtime,
            .features = 1, .counter_floor = counter, .max_image_size = slot, .max_private_size = page,
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
