// The board's SHA-256 on the PC: reads messages from stdin, each its length in four bytes and then itself, and writes the digests.
#include <stdio.h>
#include <stdlib.h>

#include "sha256.h"

int main(void) {
    uint8_t length[4], digest[SHA256_SIZE];
    while (fread(length, 1, sizeof(length), stdin) == sizeof(length)) {
        uint32_t size = length[0] | (uint32_t)length[1] << 8 | (uint32_t)length[2] << 16 | (uint32_t)length[3] << 24;
        uint8_t *message = malloc(size);
        if (fread(message, 1, size, stdin) != size) {
            return 1;
        }
        sha256(message, size, digest);
        fwrite(digest, 1, sizeof(digest), stdout);
        free(message);
    }
    return 0;
}
