// Decoder of key sets, and which may follow which.
#include "keyset.h"

#include <string.h>

#include "ed25519.h"
#include "little_endian.h"
#include "sha256.h"

static const uint8_t *key_at(const struct keyset *set, uint32_t index) {
    return set->bytes + KEYSET_HEADER_SIZE + KEYSET_KEY_SIZE * index;
}

const uint8_t *keyset_revoked(const struct keyset *set, uint32_t index) {
    return key_at(set, set->key_count) + KEYSET_ID_SIZE * index;
}

static const uint8_t *signature_at(const struct keyset *set, uint32_t index) {
    return set->bytes + set->signed_size + KEYSET_SIGNATURE_SIZE * index;
}

void keyset_key_id(const struct keyset *set, uint32_t index, uint8_t id[KEYSET_ID_SIZE]) {
    uint8_t digest[SHA256_SIZE];
    sha256(key_at(set, index), KEYSET_KEY_SIZE, digest);
    memcpy(id, digest, KEYSET_ID_SIZE);
}

static const uint8_t *find_key(const struct keyset *set, const uint8_t id[KEYSET_ID_SIZE]) {
    for (uint32_t i = 0; i < set->key_count; i++) {
        uint8_t other[KEYSET_ID_SIZE];
        keyset_key_id(set, i, other);
        if (memcmp(other, id, KEYSET_ID_SIZE) == 0) {
            return key_at(set, i);
        }
    }
    return NULL;
}

bool keyset_revokes(const struct keyset *set, const uint8_t id[KEYSET_ID_SIZE]) {
    for (uint32_t i = 0; i < set->revoked_count; i++) {
        if (memcmp(keyset_revoked(set, i), id, KEYSET_ID_SIZE) == 0) {
            return true;
        }
    }
    return false;
}

int trusted_key(const struct trusted *trusted, const uint8_t id[KEYSET_ID_SIZE], const uint8_t **key) {
    *key = NULL;
    if (keyset_revokes(&trusted->set, id) || keyset_revokes(&trusted->superseded, id)) {
        return KERN_KEY_REVOKED;
    }
    *key = find_key(&trusted->set, id);
    return *key != NULL ? KERN_OK : KERN_NO_TRUSTED_KEY;
}

// ---- form ----

// Keys are sorted by id, each once; none is revoked.
static bool keys_ok(const struct keyset *set) {
    uint8_t before[KEYSET_ID_SIZE], id[KEYSET_ID_SIZE];
    for (uint32_t i = 0; i < set->key_count; i++) {
        keyset_key_id(set, i, id);
        if ((i > 0 && memcmp(before, id, KEYSET_ID_SIZE) >= 0) || keyset_revokes(set, id)) {
            return false;
        }
        memcpy(before, id, KEYSET_ID_SIZE);
    }
    return true;
}

// `count` entries of `size` bytes begin with ids that are sorted, each once.
static bool ids_ok(const uint8_t *entries, uint32_t count, uint32_t size) {
    for (uint32_t i = 1; i < count; i++) {
        if (memcmp(entries + size * (i - 1), entries + size * i, KEYSET_ID_SIZE) >= 0) {
            return false;
        }
    }
    return true;
}

// The header, and that all it counts is there.
static bool header_ok(struct keyset *set, const uint8_t *bytes, uint32_t length) {
    if (length < KEYSET_HEADER_SIZE || memcmp(bytes, "KSET", 4) != 0
        || get_u16(bytes + 4) != KEYSET_FORMAT_VERSION || get_u16(bytes + 6) != KEYSET_HEADER_SIZE) {
        return false;
    }
    *set = (struct keyset) {
        .bytes = bytes, .size = length, .version = get_u32(bytes + 8), .threshold = bytes[12], .key_count = bytes[13],
        .revoked_count = get_u16(bytes + 14),
    };
    if (set->threshold < 1 || set->threshold > set->key_count || set->key_count > KEYSET_MAX_KEYS
        || set->revoked_count > KEYSET_MAX_REVOKED) {
        return false;
    }
    set->signed_size = KEYSET_HEADER_SIZE + KEYSET_KEY_SIZE * set->key_count + KEYSET_ID_SIZE * set->revoked_count;
    if (set->signed_size > length || (length - set->signed_size) % KEYSET_SIGNATURE_SIZE != 0) {
        return false;
    }
    set->signature_count = (length - set->signed_size) / KEYSET_SIGNATURE_SIZE;
    return set->signature_count <= KEYSET_MAX_SIGNATURES;
}

int keyset_open(struct keyset *set, const uint8_t *bytes, uint32_t length) {
    *set = (struct keyset) { 0 };
    if (!header_ok(set, bytes, length) || !keys_ok(set) || !ids_ok(keyset_revoked(set, 0), set->revoked_count, KEYSET_ID_SIZE)
        || !ids_ok(signature_at(set, 0), set->signature_count, KEYSET_SIGNATURE_SIZE)) {
        *set = (struct keyset) { 0 };
        return KERN_MALFORMED_PACK;
    }
    return KERN_OK;
}

// ---- what may follow ----

// Every signature is by a key that is trusted or of the set's own, and right; of both kinds there are enough.
static int check_signatures(const struct trusted *trusted, const struct keyset *next, const char **field) {
    uint32_t by_trusted = 0, by_own = 0;
    for (uint32_t i = 0; i < next->signature_count; i++) {
        const uint8_t *id = signature_at(next, i), *key, *own = find_key(next, id);
        int found = trusted_key(trusted, id, &key);
        *field = "signer";
        if (found != KERN_OK && own == NULL) {
            return found;
        }
        *field = "signature";
        if (!ed25519_check(id + KEYSET_ID_SIZE, key != NULL ? key : own, next->bytes, next->signed_size)) {
            return KERN_BAD_SIGNATURE;
        }
        by_trusted += key != NULL;
        by_own += own != NULL;
    }
    *field = by_trusted < trusted->set.threshold ? "too few of the trusted keys signed" : "too few of its own keys signed";
    return by_trusted < trusted->set.threshold || by_own < next->threshold ? KERN_NO_TRUSTED_KEY : KERN_OK;
}

static bool revokes_all(const struct keyset *next, const struct keyset *before) {
    for (uint32_t i = 0; i < before->revoked_count; i++) {
        if (!keyset_revokes(next, keyset_revoked(before, i))) {
            return false;
        }
    }
    return true;
}

static int check_succession(const struct trusted *trusted, const struct keyset *next, const char **field) {
    *field = "version";
    if (next->version <= trusted->set.version) {
        return KERN_DOWNGRADE_REFUSED;
    }
    *field = "revoked keys";
    return revokes_all(next, &trusted->set) && revokes_all(next, &trusted->superseded) ? KERN_OK : KERN_DOWNGRADE_REFUSED;
}

int keyset_accept(const struct trusted *trusted, const uint8_t *bytes, uint32_t length, struct keyset *next, const char **field) {
    struct keyset candidate;
    int result = KERN_PACK_ERROR; // success has to be earned
    *next = (struct keyset) { 0 };
    *field = "key set";

    if (trusted->set.key_count == 0) {
        return KERN_NO_TRUSTED_KEY; // nobody is trusted, so nobody can say who is next
    }
    result = keyset_open(&candidate, bytes, length);
    if (result == KERN_OK) {
        result = check_signatures(trusted, &candidate, field);
    }
    if (result == KERN_OK) {
        result = check_succession(trusted, &candidate, field);
    }
    if (result == KERN_OK) {
        *next = candidate;
    }
    return result;
}
