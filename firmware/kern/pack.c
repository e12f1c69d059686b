// What is in the slots, verified before it is used. How it gets there: install.c.
#include "modkern.h"

#include <string.h>

#include "flash.h"
#include "guard.h"
#include "kern_board.h"

static struct {
    struct store store;
    struct gate_pack packs[STORE_SLOTS];
    uint32_t generation;
} state;

uint32_t kern_pack_generation(void) {
    return state.generation;
}

void kern_pack_reset(void) {
    memset(state.packs, 0, sizeof(state.packs));
    store_open(&state.store, &kern_flash);
    kern_trust_reset();
    state.generation++;
    kern_install_reset();
}

struct store *kern_store(void) {
    return &state.store;
}

void kern_pack_forget(uint32_t slot) {
    engine_unload(&state.packs[slot]);
    state.packs[slot] = (struct gate_pack) { 0 };
}

void kern_pack_changed(void) {
    engine_unload(NULL);
    state.generation++;
    mp_map_init(&MP_STATE_VM(kern_ops)->map, 0); // its operations are other ones
}

// ---- verifying ----

struct verification {
    const uint8_t *bytes;
    uint32_t length;
    struct gate_policy policy;
    struct gate_pack *pack;
    struct gate_report report;
};

static int verify_here(void *argument) {
    struct verification *v = argument;
    return gate_verify(v->bytes, v->length, &v->policy, v->pack, &v->report);
}

// On the kernel stack: MicroPython's own may be nearly used up where this is called.
static int verify(uint32_t slot, uint32_t length, struct gate_report *report) {
    kern_check_free();
    struct verification v = {
        .bytes = store_slot(&state.store, slot),
        .length = length,
        .policy = {
            .trusted = kern_trusted(),
            .target = KERN_TARGET,
            .kernel_abi = KERN_ABI,
            .aot_version = engine_aot_version(),
            .interpreter = KERN_INTERPRETER,
            .runtime_version = KERN_VERSION_NUMBER,
            .features = KERN_FEATURES,
            .counter_floor = state.store.state.counter,
            .max_image_size = KERN_SLOT_SIZE,
            .max_private_size = KERN_KERNEL_PAGE,
        },
        .pack = &state.packs[slot],
    };
    int error = guard_run_trusted(verify_here, &v);
    *report = v.report;
    return error;
}

// Verified before its first use after each reset.
static int find_active(const struct gate_pack **pack, struct gate_report *report) {
    uint32_t slot = state.store.state.active;
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

const struct gate_pack *kern_pack_verify(uint32_t slot, uint32_t size) {
    struct gate_report report;
    int error = verify(slot, size, &report);
    if (error != KERN_OK) {
        raise_refused(error, &report);
    }
    return &state.packs[slot];
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
    kern_check(error == KERN_NO_PACK ? error : KERN_OK);
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

// ---- telling ----

static mp_obj_t slot_dict(uint32_t slot) {
    mp_obj_t dict = mp_obj_new_dict(8);
    kern_put(dict, MP_QSTR_slot, mp_obj_new_str_from_cstr(slot == 0 ? "a" : "b"));
    return dict;
}

static void put_image(mp_obj_t dict, const struct image *image) {
    struct image_header header;
    image_header(image, &header);
    kern_put(dict, MP_QSTR_name, mp_obj_new_str_from_cstr(header.name));
    kern_put(dict, MP_QSTR_version, mp_obj_new_str_from_cstr(header.version));
    kern_put(dict, MP_QSTR_code, MP_OBJ_NEW_QSTR(image_is_bytecode(image) ? MP_QSTR_interpreted : MP_QSTR_aot));
    kern_put(dict, MP_QSTR_counter, mp_obj_new_int_from_uint(header.security_counter));
    kern_put(dict, MP_QSTR_manifest, kern_hex(header.manifest_sha256, 32));
    kern_put(dict, MP_QSTR_image_size, mp_obj_new_int_from_uint(image->size));
}

mp_obj_t kern_pack_dict(void) {
    kern_release_expired();
    const struct gate_pack *pack = kern_pack_or_null();
    if (pack == NULL) {
        return mp_const_none;
    }
    mp_obj_t dict = slot_dict(state.store.state.active);
    put_image(dict, &pack->image);
    kern_put(dict, MP_QSTR_confirmed, mp_obj_new_bool(state.store.state.confirmed));
    return dict;
}

static void append_slot(mp_obj_t list, uint32_t slot, qstr role) {
    if (slot == STORE_NONE) {
        return;
    }
    struct gate_report report;
    mp_obj_t dict = slot_dict(slot);
    int error = state.packs[slot].verified ? KERN_OK : verify(slot, state.store.state.sizes[slot], &report);
    if (error == KERN_OK) {
        put_image(dict, &state.packs[slot].image);
    } else {
        kern_put(dict, MP_QSTR_error, kern_error_name(error));
    }
    kern_put(dict, MP_QSTR_state, MP_OBJ_NEW_QSTR(role));
    mp_obj_list_append(list, dict);
}

static mp_obj_t kern_packs(void) {
    mp_obj_t list = mp_obj_new_list(0, NULL);
    kern_release_expired();
    append_slot(list, state.store.state.active, state.store.state.confirmed ? MP_QSTR_active : MP_QSTR_trial);
    append_slot(list, state.store.state.previous, MP_QSTR_previous);
    return list;
}
MP_DEFINE_CONST_FUN_OBJ_0(kern_packs_obj, kern_packs);
