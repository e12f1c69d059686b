// Whom this board trusts: the key set that the firmware was built with, or a later one that it was sent.
#include "modkern.h"

#include <string.h>

#include "guard.h"
#include "kern_keys.h"

static struct trusted trusted;

const struct trusted *kern_trusted(void) {
    return &trusted;
}

// The higher version counts, whichever came last, and what either revokes is revoked: neither other firmware nor a key set
// brings a key back. A stored set that is damaged leaves nobody trusted, as the older one might still have a revoked key.
void kern_trust_reset(void) {
    static const uint8_t built_in_bytes[] = { KERN_KEY_SET };
    struct keyset built_in, stored = { 0 };
    uint32_t size;
    const uint8_t *bytes = store_keys(kern_store(), &size);
    trusted = (struct trusted) { 0 };
    if (keyset_open(&built_in, built_in_bytes, sizeof(built_in_bytes)) != KERN_OK
        || (bytes != NULL && keyset_open(&stored, bytes, size) != KERN_OK)) {
        return;
    }
    bool built_in_counts = bytes == NULL || built_in.version > stored.version;
    trusted = built_in_counts ? (struct trusted) { built_in, stored } : (struct trusted) { stored, built_in };
}

// ---- kern.status()['keys'] ----

static void append_keys(mp_obj_t list, const struct keyset *set) {
    for (uint32_t i = 0; i < set->key_count; i++) {
        const uint8_t *key;
        uint8_t id[KEYSET_ID_SIZE];
        keyset_key_id(set, i, id);
        if (trusted_key(&trusted, id, &key) == KERN_OK) {
            mp_obj_list_append(list, kern_hex(id, sizeof(id)));
        }
    }
}

static void append_revoked(mp_obj_t list, const struct keyset *set, const struct keyset *but_of) {
    for (uint32_t i = 0; i < set->revoked_count; i++) {
        const uint8_t *id = keyset_revoked(set, i);
        if (!keyset_revokes(but_of, id)) {
            mp_obj_list_append(list, kern_hex(id, KEYSET_ID_SIZE));
        }
    }
}

mp_obj_t kern_keys_dict(void) {
    static const struct keyset none;
    mp_obj_t dict = mp_obj_new_dict(4), ids = mp_obj_new_list(0, NULL), revoked = mp_obj_new_list(0, NULL);
    append_keys(ids, &trusted.set);
    append_revoked(revoked, &trusted.set, &none);
    append_revoked(revoked, &trusted.superseded, &trusted.set);
    kern_put(dict, MP_QSTR_version, mp_obj_new_int_from_uint(trusted.set.version));
    kern_put(dict, MP_QSTR_threshold, mp_obj_new_int_from_uint(trusted.set.threshold));
    kern_put(dict, MP_QSTR_ids, ids);
    kern_put(dict, MP_QSTR_revoked, revoked);
    return dict;
}

// ---- kern.install_keys(source) ----

struct offer {
    const uint8_t *bytes;
    uint32_t size;
    struct keyset next;
    const char *field;
};

static int accept_here(void *argument) {
    struct offer *offer = argument;
    return keyset_accept(&trusted, offer->bytes, offer->size, &offer->next, &offer->field);
}

// A file's contents, or what the buffer has.
static mp_obj_t read_all(mp_obj_t source) {
    if (!mp_obj_is_str(source)) {
        return source;
    }
    mp_obj_t read[2];
    mp_load_method(kern_open(source), MP_QSTR_read, read);
    return mp_call_method_n_kw(0, 0, read);
}

static mp_obj_t kern_install_keys(mp_obj_t source) {
    nlr_jump_callback_node_t node;
    mp_buffer_info_t buffer;
    mp_get_buffer_raise(read_all(source), &buffer, MP_BUFFER_READ);
    kern_change_begin(&node);
    if (buffer.len > KEYSET_MAX_SIZE) {
        kern_raise(KERN_MALFORMED_PACK, MP_ERROR_TEXT("a key set has %u bytes at most, this has %u"), (unsigned)KEYSET_MAX_SIZE,
            (unsigned)buffer.len);
    }
    // A copy that no program has: what is written must be what was checked.
    uint8_t *bytes = m_new(uint8_t, buffer.len);
    memcpy(bytes, buffer.buf, buffer.len);
    struct offer offer = { .bytes = bytes, .size = buffer.len };
    int error = guard_run_trusted(accept_here, &offer);
    if (error == KERN_OK) {
        offer.field = "flash";
        error = store_keys_write(kern_store(), bytes, buffer.len);
    }
    if (error != KERN_OK) {
        kern_raise(error, MP_ERROR_TEXT("%s (%s)"), kern_error_phrase(error), offer.field);
    }
    kern_trust_reset();
    // What the old keys signed is verified again, before its next use, with the new ones.
    for (uint32_t slot = 0; slot < STORE_SLOTS; slot++) {
        kern_pack_forget(slot);
    }
    kern_pack_changed();
    nlr_pop_jump_callback(true);
    return kern_keys_dict();
}
MP_DEFINE_CONST_FUN_OBJ_1(kern_install_keys_obj, kern_install_keys);
