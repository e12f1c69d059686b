// The active pack, and installing another one: receive into the idle slot, verify, test, switch.
#include "modkern.h"

#include <string.h>

#include "py/builtin.h"
#include "py/gc.h"
#include "py/mphal.h"
#include "py/objarray.h"

#include "arena.h"
#include "flash.h"
#include "gate.h"
#include "guard.h"
#include "kern_keys.h"
#include "known_answer.h"
#include "store.h"

#define CHUNK (4 * STORE_PAGE) // bytes asked of a source at a time

static const struct gate_key keys[] = { KERN_KEYS };

static struct {
    struct store store;
    struct gate_pack packs[STORE_SLOTS];
    bool opened;
    bool installing;
    uint32_t generation;
} state;

uint32_t kern_pack_generation(void) {
    return state.generation;
}

void kern_pack_reset(void) {
    memset(state.packs, 0, sizeof(state.packs));
    store_open(&state.store, &kern_flash);
    state.installing = false;
    state.generation++;
}

// ---- verifying ----

struct verification {
    const uint8_t *bytes;
    uint32_t length;
    struct gate_policy policy;
    struct gate_pack *pack;
    struct gate_report report;
};

static uint32_t verify_here(struct verification *v, uint32_t unused) {
    (void)unused;
    return (uint32_t)gate_verify(v->bytes, v->length, &v->policy, v->pack, &v->report);
}

// On the kernel stack: MicroPython's own may be nearly used up where this is called.
static int verify(uint8_t slot, uint32_t length, struct gate_report *report) {
    struct verification v = {
        .bytes = store_slot(&state.store, slot),
        .length = length,
        .policy = {
            .keys = keys,
            .key_count = MP_ARRAY_SIZE(keys) - 1, // the last one ends the list
            .target = KERN_TARGET,
            .kernel_abi = KERN_ABI,
            .aot_version = engine_aot_version(),
            .runtime_version = KERN_VERSION_NUMBER,
            .features = KERN_FEATURES,
            .counter_floor = state.store.state.counter,
            .max_image_size = KERN_SLOT_SIZE,
            .max_private_size = KERN_KERNEL_PAGE,
        },
        .pack = &state.packs[slot],
    };
    struct guard_call call = { .entry = verify_here, .arg = { (uint32_t)&v, 0 } };
    int fault = guard_run(&call, GUARD_NO_DEADLINE);
    *report = v.report;
    return fault != KERN_OK ? fault : (int)call.result;
}

// Verified before its first use after each reset.
static int find_active(const struct gate_pack **pack, struct gate_report *report) {
    uint8_t slot = state.store.state.active;
    if (slot == STORE_NONE) {
        return KERN_NO_PACK;
    }
    *pack = &state.packs[slot];
    return (*pack)->verified ? KERN_OK : verify(slot, state.store.state.sizes[slot], report);
}

static void print_version(const mp_print_t *print, uint32_t version) {
    mp_printf(print, "%u.%u.%u", (unsigned)(version >> 16), (unsigned)(version >> 8 & 255), (unsigned)(version & 255));
}

static NORETURN void raise_refused(int error, const struct gate_report *report) {
    vstr_t message;
    mp_print_t print;
    vstr_init_print(&message, 64, &print);
    mp_printf(&print, "%s", kern_error_phrase(error));
    if (report->text_required != NULL) {
        mp_printf(&print, " (%s: required %s, actual %s)", report->field, report->text_required, report->text_actual);
    } else if (error == KERN_RUNTIME_TOO_OLD || error == KERN_RUNTIME_TOO_NEW) {
        mp_printf(&print, " (%s: required ", report->field);
        print_version(&print, report->required);
        mp_print_str(&print, ", actual ");
        print_version(&print, report->actual);
        mp_print_str(&print, ")");
    } else if (report->required != report->actual) {
        mp_printf(&print, " (%s: required %u, actual %u)", report->field, (unsigned)report->required, (unsigned)report->actual);
    } else {
        mp_printf(&print, " (%s)", report->field);
    }
    nlr_raise(mp_obj_new_exception_arg1(kern_error_type(error), mp_obj_new_str_from_vstr(&message)));
}

const struct gate_pack *kern_pack_or_null(void) {
    struct gate_report report;
    const struct gate_pack *pack;
    return find_active(&pack, &report) == KERN_OK ? pack : NULL;
}

const struct gate_pack *kern_active_pack(void) {
    struct gate_report report;
    const struct gate_pack *pack;
    int error = find_active(&pack, &report);
    if (error == KERN_NO_PACK) {
        kern_raise(error, MP_ERROR_TEXT("%s"), kern_error_phrase(error));
    }
    if (error != KERN_OK) {
        raise_refused(error, &report);
    }
    return pack;
}

uint32_t kern_find_kernel(const struct gate_pack *pack, const char *id) {
    for (uint32_t i = 0; i < pack->image.kernel_count; i++) {
        if (strcmp(image_kernel(&pack->image, i).id, id) == 0) {
            return i;
        }
    }
    kern_raise(KERN_NO_SUCH_KERNEL, MP_ERROR_TEXT("no kernel '%s' in the pack"), id);
}

mp_obj_t kern_pack_dict(void) {
    const struct gate_pack *pack = kern_pack_or_null();
    if (pack == NULL) {
        return mp_const_none;
    }
    struct image_header header;
    image_header(&pack->image, &header);
    mp_obj_t dict = mp_obj_new_dict(6);
    uint8_t slot = state.store.state.active;
    const char *name = slot == 0 ? "a" : "b";
    mp_obj_dict_store(dict, MP_OBJ_NEW_QSTR(MP_QSTR_name), mp_obj_new_str_from_cstr(header.name));
    mp_obj_dict_store(dict, MP_OBJ_NEW_QSTR(MP_QSTR_version), mp_obj_new_str_from_cstr(header.version));
    mp_obj_dict_store(dict, MP_OBJ_NEW_QSTR(MP_QSTR_counter), mp_obj_new_int_from_uint(header.security_counter));
    mp_obj_dict_store(dict, MP_OBJ_NEW_QSTR(MP_QSTR_slot), mp_obj_new_str_from_cstr(name));
    mp_obj_dict_store(dict, MP_OBJ_NEW_QSTR(MP_QSTR_manifest), kern_hex(header.manifest_sha256, 32));
    mp_obj_dict_store(dict, MP_OBJ_NEW_QSTR(MP_QSTR_image_size), mp_obj_new_int_from_uint(pack->image.size));
    return dict;
}

mp_obj_t kern_key_ids(void) {
    mp_obj_t list = mp_obj_new_list(0, NULL);
    for (size_t i = 0; i + 1 < MP_ARRAY_SIZE(keys); i++) {
        mp_obj_list_append(list, kern_hex(keys[i].id, sizeof(keys[i].id)));
    }
    return list;
}

// ---- receiving ----

// Where an image comes from: a buffer, or a method readinto.
struct source {
    mp_buffer_info_t buffer;
    size_t at;
    mp_obj_t readinto[3]; // method, self, argument
};

static void open_source(struct source *source, mp_obj_t o) {
    *source = (struct source) { 0 };
    if (mp_obj_is_str(o)) {
        mp_obj_t args[2] = { o, MP_OBJ_NEW_QSTR(MP_QSTR_rb) };
        o = mp_call_function_n_kw(MP_OBJ_FROM_PTR(&mp_builtin_open_obj), 2, 0, args);
    }
    mp_load_method_maybe(o, MP_QSTR_readinto, source->readinto);
    if (source->readinto[0] == MP_OBJ_NULL) {
        mp_get_buffer_raise(o, &source->buffer, MP_BUFFER_READ);
    }
}

// Up to `size` bytes; 0 at the end.
static size_t read_some(struct source *source, uint8_t *p, size_t size) {
    if (source->readinto[0] == MP_OBJ_NULL) {
        size = MIN(size, source->buffer.len - source->at);
        memcpy(p, (const uint8_t *)source->buffer.buf + source->at, size);
        source->at += size;
        return size;
    }
    source->readinto[2] = mp_obj_new_memoryview('B' | MP_OBJ_ARRAY_TYPECODE_FLAG_RW, size, p);
    mp_obj_t got = mp_call_method_n_kw(1, 0, source->readinto);
    mp_int_t n = got == mp_const_none ? 0 : mp_obj_get_int(got);
    if (n < 0 || (size_t)n > size) {
        mp_raise_ValueError(MP_ERROR_TEXT("readinto returned more than was asked for"));
    }
    return n;
}

static size_t read_chunk(struct source *source, uint8_t *p) {
    size_t have = 0, n;
    while (have < CHUNK && (n = read_some(source, p + have, CHUNK - have)) > 0) {
        have += n;
    }
    return have;
}

static void check(int error) {
    if (error != KERN_OK) {
        kern_raise(error, MP_ERROR_TEXT("%s"), kern_error_phrase(error));
    }
}

// Write the source to the idle slot. Returns its length.
static uint32_t receive(struct source *source) {
    uint8_t *chunk = m_new(uint8_t, CHUNK);
    uint32_t length = 0;
    size_t have;
    check(store_begin(&state.store));
    while ((have = read_chunk(source, chunk)) > 0) {
        memset(chunk + have, 0xff, CHUNK - have);
        for (size_t at = 0; at < have; at += STORE_PAGE) {
            check(store_write(&state.store, chunk + at));
        }
        length += have;
        mp_event_handle_nowait(); // USB goes on, and Ctrl-C ends this
    }
    return length; // the chunk is left to the garbage collector: a source may have kept its memoryview
}

// ---- kern.install(source) ----

static void check_health(const struct gate_pack *pack) {
    gc_collect(); // room in the arena
    for (uint32_t i = 0; i < pack->image.kernel_count; i++) {
        int error = known_answer_test(pack, i);
        const char *id = image_kernel(&pack->image, i).id;
        if (error == KNOWN_ANSWER_NO_ROOM) {
            mp_raise_msg_varg(&mp_type_MemoryError, MP_ERROR_TEXT("%s: the arena is too full for the known-answer test"), id);
        }
        if (error != KERN_OK) {
            kern_raise(KERN_HEALTH_CHECK_FAILED, MP_ERROR_TEXT("%s: %s %s"), id, kern_error_phrase(error),
                error == KERN_LOAD_ERROR ? engine_message() : "");
        }
    }
}

static void install(mp_obj_t o) {
    struct source source;
    struct gate_report report;
    uint8_t slot = store_idle(&state.store);
    open_source(&source, o);
    memset(&state.packs[slot], 0, sizeof(state.packs[slot])); // its bytes are about to go
    uint32_t length = receive(&source);
    int error = verify(slot, length, &report);
    if (error != KERN_OK) {
        raise_refused(error, &report);
    }
    check_health(&state.packs[slot]);
    struct image_header header;
    image_header(&state.packs[slot].image, &header);
    check(store_commit(&state.store, length, header.security_counter, true));
}

static mp_obj_t kern_install(mp_obj_t source) {
    if (state.installing || guard_busy()) {
        mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("another installation or a kernel is under way"));
    }
    state.installing = true;
    nlr_buf_t nlr;
    if (nlr_push(&nlr) == 0) {
        install(source);
        nlr_pop();
    } else {
        // Found here: a local variable from before nlr_push may have been overwritten since.
        struct gate_pack *candidate = &state.packs[store_idle(&state.store)];
        engine_unload(candidate);
        *candidate = (struct gate_pack) { 0 };
        state.installing = false;
        nlr_jump(nlr.ret_val);
    }
    engine_unload(NULL);
    state.installing = false;
    state.generation++;
    return kern_pack_dict();
}
MP_DEFINE_CONST_FUN_OBJ_1(kern_install_obj, kern_install);
