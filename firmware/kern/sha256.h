// SHA-256 of bytes in memory, made for a processor with eight registers: mbedtls's takes half as long again.
#ifndef KERN_SHA256_H
#define KERN_SHA256_H

#include <stdint.h>

#define SHA256_SIZE (32)

void sha256(const uint8_t *bytes, uint32_t size, uint8_t digest[SHA256_SIZE]);

#endif
