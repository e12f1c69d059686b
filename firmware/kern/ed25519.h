// Strict Ed25519: of what verifiers differ about, nothing is taken. host/pack/ed25519.py gives the same answers.
#ifndef KERN_ED25519_H
#define KERN_ED25519_H

#include <stdbool.h>
#include <stdint.h>

// Whether the owner of `public_key` made `signature` over `size` bytes of `message`. Besides RFC 8032: S is below the group's order;
// the encodings of the key and of R are canonical, and neither is a point of small order; the equation holds as it is, not only
// times the cofactor.
bool ed25519_check(const uint8_t signature[64], const uint8_t public_key[32], const uint8_t *message, uint32_t size)
    __attribute__((warn_unused_result));

#endif
