// The board's Ed25519 on the PC: reads lines of <key> <signature> <message>, in hex ("-" for no message), and answers each with
// "OK" or "BadSignature". Each is copied to a block of exactly its length, so that a sanitizer sees any byte read beyond it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ed25519.h"

static uint8_t *from_hex(const char *hex, uint32_t *size) {
    *size = hex[0] == '-' ? 0 : (uint32_t)strlen(hex) / 2;
    uint8_t *bytes = malloc(*size);
    for (uint32_t i = 0; i < *size; i++) {
        unsigned byte = 0;
        sscanf(hex + 2 * i, "%2x", &byte);
        bytes[i] = (uint8_t)byte;
    }
    return bytes;
}

int main(void) {
    char key_hex[65], signature_hex[129], message_hex[4097];
    while (scanf("%64s %128s %4096s", key_hex, signature_hex, message_hex) == 3) {
        uint32_t key_size, signature_size, size;
        uint8_t *key = from_hex(key_hex, &key_size), *signature = from_hex(signature_hex, &signature_size);
        uint8_t *message = from_hex(message_hex, &size);
        if (key_size != 32 || signature_size != 64) {
            return 1;
        }
        puts(ed25519_check(signature, key, message, size) ? "OK" : "BadSignature");
        free(key);
        free(signature);
        free(message);
    }
    return 0;
}
