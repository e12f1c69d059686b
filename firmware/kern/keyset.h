// Key sets as a board reads them, docs/board-image.md byte by byte: whose signatures count, how many of them a following set
// needs, and whose never count again. Views only, as in image.h. Needs 2.5 KB of stack (Ed25519).
#ifndef KERN_KEYSET_H
#define KERN_KEYSET_H

#include <stdbool.h>
#include <stdint.h>

#include "kern_errors.h"

#define KEYSET_FORMAT_VERSION (1)
#define KEYSET_HEADER_SIZE (16)
#define KEYSET_KEY_SIZE (32)
#define KEYSET_ID_SIZE (8) // first bytes of sha256 of the key
#define KEYSET_SIGNATURE_SIZE (72) // key id, signature
#define KEYSET_MAX_KEYS (8)
#define KEYSET_MAX_REVOKED (64)
#define KEYSET_MAX_SIGNATURES (16)
#define KEYSET_MAX_SIZE (KEYSET_HEADER_SIZE + KEYSET_MAX_KEYS * KEYSET_KEY_SIZE + KEYSET_MAX_REVOKED * KEYSET_ID_SIZE \
    + KEYSET_MAX_SIGNATURES * KEYSET_SIGNATURE_SIZE)

// A well-formed key set, whoever signed it. The bytes stay the caller's. All zero has no keys.
struct keyset {
    const uint8_t *bytes;
    uint32_t size, signed_size;
    uint32_t version, threshold, key_count, revoked_count, signature_count;
};

// Whom a board trusts: the keys of `set`, but for those that either of the two revokes.
struct trusted {
    struct keyset set;
    struct keyset superseded; // by `set`: one with a lower version; all zero for none
};

// Form and every field of `length` bytes, the signatures left out. On KERN_MALFORMED_PACK `set` is all zero.
int keyset_open(struct keyset *set, const uint8_t *bytes, uint32_t length) __attribute__((warn_unused_result));

void keyset_key_id(const struct keyset *set, uint32_t index, uint8_t id[KEYSET_ID_SIZE]);
const uint8_t *keyset_revoked(const struct keyset *set, uint32_t index);
bool keyset_revokes(const struct keyset *set, const uint8_t id[KEYSET_ID_SIZE]);

// The public key with that id. KERN_OK, KERN_KEY_REVOKED or KERN_NO_TRUSTED_KEY, and then `*key` is NULL.
int trusted_key(const struct trusted *trusted, const uint8_t id[KEYSET_ID_SIZE], const uint8_t **key)
    __attribute__((warn_unused_result));

// Check whether `length` bytes are a key set that may take the place of `trusted->set`. KERN_OK fills `next`; any other result is
// the refusal's error code, leaves `next` all zero and names what is wrong in `*field`.
int keyset_accept(const struct trusted *trusted, const uint8_t *bytes, uint32_t length, struct keyset *next, const char **field)
    __attribute__((warn_unused_result));

#endif
