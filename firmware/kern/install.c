// Another pack takes over without a restart: receive into the idle slot, verify, test, switch; and the way back.
#include "modkern.h"

#include <string.h>

#include "py/builtin.h"
#include "py/mphal.h"
#include "py/objarray.h"

#include "flash.h"
#include "guard.h"
#include "known_answer.h"

#define CHUNK (4 * STORE_PAGE)      // bytes asked of a source at a time
#define GRACE_US (300 * UINT64_C(1000000)) // for which the previous pack is kept

typedef struct _kern_installer_obj_t {
    mp_obj_base_t base;
    uint32_t length; // bytes taken
    uint8_t page[STORE_PAGE]; // those that do not fill a page yet
} kern_installer_obj_t;

static struct {
    bool busy;       // something changes the store just now
    uint64_t since;  // when what is active became so, or was found at a reset
    const kern_installer_obj_t *installer; // the one that may write, compared only
} state;

void kern_install_reset(void) {
    state.busy = false;
    state.since = kern_uptime_us();
    state.installer = NULL;
}

// ---- one change at a time ----

// Whatever ends a change, nothing of the idle slot is loaded or counts as verified.
static void leave(void *node) {
    (void)node;
    kern_pack_forget(store_idle(kern_store()));
    state.busy = false;
}

void kern_change_begin(nlr_jump_callback_node_t *node) {
    kern_check_free();
    if (state.busy) {
        mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("another installation is under way"));
    }
    state.busy = true;
    nlr_push_jump_callback(node, leave);
}

// What is active is another pack, or no longer on trial.
static void begin_grace(void) {
    state.since = kern_uptime_us();
}

static int release_expired(void) {
    const struct store_state *now = &kern_store()->state;
    bool kept = !now->confirmed || kern_uptime_us() - state.since < GRACE_US;
    return kept ? KERN_OK : store_release(kern_store());
}

void kern_release_expired(void) {
    if (!state.busy && !guard_busy()) {
        state.busy = true;
        int error = release_expired();
        (void)error; // it is still there, then, and who asks next tries again
        state.busy = false;
    }
}

static void check_health(const struct gate_pack *pack) {
    kern_arena_collect(); // room
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

static uint32_t counter_of(const struct gate_pack *pack) {
    struct image_header header;
    image_header(&pack->image, &header);
    return header.security_counter;
}

// ---- kern.installer() ----

static const mp_obj_type_t installer_type;

static kern_installer_obj_t *installer_new(void) {
    nlr_jump_callback_node_t node;
    kern_installer_obj_t *self = mp_obj_malloc(kern_installer_obj_t, &installer_type);
    self->length = 0;
    kern_change_begin(&node);
    kern_check(store_begin(kern_store()));
    state.installer = self;
    nlr_pop_jump_callback(true);
    return self;
}

static void enter_installer(const kern_installer_obj_t *self, nlr_jump_callback_node_t *node) {
    kern_change_begin(node);
    if (state.installer != self || !kern_store()->writing) {
        mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("this installation has ended, or another one began since"));
    }
}

static void write(kern_installer_obj_t *self, const uint8_t *p, size_t size) {
    nlr_jump_callback_node_t node;
    enter_installer(self, &node);
    while (size > 0) {
        size_t at = self->length % STORE_PAGE, part = MIN(size, STORE_PAGE - at);
        memcpy(self->page + at, p, part);
        self->length += part;
        p += part;
        size -= part;
        if (at + part == STORE_PAGE) {
            kern_check(store_write(kern_store(), self->page));
        }
    }
    nlr_pop_jump_callback(true);
}

static mp_obj_t finish(kern_installer_obj_t *self, bool confirm) {
    nlr_jump_callback_node_t node;
    struct store *store = kern_store();
    enter_installer(self, &node);
    state.installer = NULL;
    size_t rest = self->length % STORE_PAGE;
    if (rest != 0) {
        memset(self->page + rest, 0xff, STORE_PAGE - rest);
        kern_check(store_write(store, self->page));
    }
    const struct gate_pack *pack = kern_pack_verify(store_idle(store), self->length);
    check_health(pack);
    kern_check(store_commit(store, self->length, counter_of(pack), confirm));
    kern_pack_changed();
    begin_grace();
    nlr_pop_jump_callback(true);
    return kern_pack_dict();
}

static mp_obj_t kern_installer(void) {
    return MP_OBJ_FROM_PTR(installer_new());
}
MP_DEFINE_CONST_FUN_OBJ_0(kern_installer_obj, kern_installer);

static mp_obj_t installer_write(mp_obj_t self, mp_obj_t data) {
    mp_buffer_info_t buffer;
    mp_get_buffer_raise(data, &buffer, MP_BUFFER_READ);
    write(MP_OBJ_TO_PTR(self), buffer.buf, buffer.len);
    return MP_OBJ_NEW_SMALL_INT(buffer.len);
}
static MP_DEFINE_CONST_FUN_OBJ_2(installer_write_obj, installer_write);

// The arguments (it, confirm=True).
static bool parse_confirm(size_t n_args, const mp_obj_t *args, mp_map_t *kw) {
    static const mp_arg_t allowed[] = { { MP_QSTR_confirm, MP_ARG_BOOL, { .u_bool = true } } };
    mp_arg_val_t values[1];
    mp_arg_parse_all(n_args - 1, args + 1, kw, 1, allowed, values);
    return values[0].u_bool;
}

static mp_obj_t installer_finish(size_t n_args, const mp_obj_t *args, mp_map_t *kw) {
    return finish(MP_OBJ_TO_PTR(args[0]), parse_confirm(n_args, args, kw));
}
static MP_DEFINE_CONST_FUN_OBJ_KW(installer_finish_obj, 1, installer_finish);

static const mp_rom_map_elem_t installer_locals_table[] = {
    { MP_ROM_QSTR(MP_QSTR_write), MP_ROM_PTR(&installer_write_obj) },
    { MP_ROM_QSTR(MP_QSTR_finish), MP_ROM_PTR(&installer_finish_obj) },
};
static MP_DEFINE_CONST_DICT(installer_locals, installer_locals_table);

static MP_DEFINE_CONST_OBJ_TYPE(
    installer_type,
    MP_QSTR_installer,
    MP_TYPE_FLAG_NONE,
    locals_dict, &installer_locals
    );

// ---- kern.install(source, confirm=True) ----

// Where an image comes from: a buffer, or a method readinto.
struct source {
    mp_buffer_info_t buffer;
    size_t at;
    mp_obj_t readinto[3]; // method, self, argument
};

mp_obj_t kern_open(mp_obj_t path) {
    mp_obj_t args[2] = { path, MP_OBJ_NEW_QSTR(MP_QSTR_rb) };
    return mp_call_function_n_kw(MP_OBJ_FROM_PTR(&mp_builtin_open_obj), 2, 0, args);
}

static void open_source(struct source *source, mp_obj_t o) {
    *source = (struct source) { 0 };
    if (mp_obj_is_str(o)) {
        o = kern_open(o);
    }
    mp_load_method_maybe(o, MP_QSTR_readinto, source->readinto);
    if (source->readinto[0] == MP_OBJ_NULL) {
        mp_get_buffer_raise(o, &source->buffer, MP_BUFFER_READ);
    }
}

// Up to CHUNK bytes; 0 at the end.
static size_t read_some(struct source *source, uint8_t *p) {
    if (source->readinto[0] == MP_OBJ_NULL) {
        size_t size = MIN(CHUNK, source->buffer.len - source->at);
        memcpy(p, (const uint8_t *)source->buffer.buf + source->at, size);
        source->at += size;
        return size;
    }
    source->readinto[2] = mp_obj_new_memoryview('B' | MP_OBJ_ARRAY_TYPECODE_FLAG_RW, CHUNK, p);
    mp_int_t n = mp_obj_get_int(mp_call_method_n_kw(1, 0, source->readinto));
    if (n < 0 || n > CHUNK) {
        mp_raise_ValueError(MP_ERROR_TEXT("readinto returned more than was asked for"));
    }
    return n;
}

static mp_obj_t kern_install(size_t n_args, const mp_obj_t *args, mp_map_t *kw) {
    bool confirm = parse_confirm(n_args, args, kw);
    kern_installer_obj_t *installer = installer_new();
    struct source source;
    size_t size;
    open_source(&source, args[0]);
    uint8_t *chunk = m_new(uint8_t, CHUNK); // left to the garbage collector: a source may keep its memoryview
    while ((size = read_some(&source, chunk)) > 0) {
        write(installer, chunk, size);
        mp_event_handle_nowait(); // timers and USB go on, and Ctrl-C ends this
    }
    return finish(installer, confirm);
}
MP_DEFINE_CONST_FUN_OBJ_KW(kern_install_obj, 1, kern_install);

// ---- kern.confirm(), kern.rollback() ----

static mp_obj_t kern_confirm(void) {
    nlr_jump_callback_node_t node;
    const struct gate_pack *pack = kern_active_pack();
    kern_change_begin(&node);
    if (!kern_store()->state.confirmed) {
        kern_check(store_confirm(kern_store(), counter_of(pack)));
        begin_grace();
    }
    nlr_pop_jump_callback(true);
    return kern_pack_dict();
}
MP_DEFINE_CONST_FUN_OBJ_0(kern_confirm_obj, kern_confirm);

static mp_obj_t kern_rollback(void) {
    nlr_jump_callback_node_t node;
    struct store *store = kern_store();
    kern_change_begin(&node);
    kern_check(release_expired());
    uint32_t slot = store->state.previous;
    kern_check(slot != STORE_NONE ? KERN_OK : KERN_NO_PREVIOUS_PACK);
    check_health(kern_pack_verify(slot, store->state.sizes[slot]));
    kern_check(store_rollback(store));
    kern_pack_changed();
    begin_grace();
    nlr_pop_jump_callback(true);
    return kern_pack_dict();
}
MP_DEFINE_CONST_FUN_OBJ_0(kern_rollback_obj, kern_rollback);
