// Calling kernels: kern.<op>, kern.run and kern.bind.
#include "call.h"

#include <string.h>

#include "arena.h"
#include "guard.h"

// ---- one call ----

static NORETURN void raise_busy(void) {
    mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("kernels run on core 0 only, and not in interrupt handlers"));
}

void kern_check_free(void) {
    if (guard_busy()) {
        raise_busy();
    }
}

// A call of the pack's kernel ended with `error`: run its reference instead where the pack names one. `repeatable`: the inputs are still
// what they were. Raises KernelError.
static void degrade(const struct gate_pack *pack, uint32_t index, uint32_t descriptor, bool repeatable, int position, int error,
    struct engine_result *result) {
    struct image_kernel kernel = image_kernel(&pack->image, index);
    struct engine_result second;
    kern_stats_fault(kernel.id, error, result);
    bool falls_back = error != KERN_KERNEL_TRAP && repeatable && !kern_is_strict();
    const struct engine_native *native = falls_back ? engine_find_native(kernel.fallback) : NULL;
    if (native == NULL || engine_call_native(native, kernel.max_ticks, descriptor, &second) != KERN_OK) {
        kern_raise_fault(position, kernel.id, error, result);
    }
    kern_stats_degraded(kernel.id);
    *result = second;
}

static mp_obj_t call_once(const struct gate_pack *pack, uint32_t index, const struct call_args *args) {
    struct call call;
    call_prepare(&call, pack, index, args);
    descriptor_write(DESCRIPTOR_SHARED, call.regions, call.sizes, call.params, call_param_count(&call));
    struct engine_result result;
    kern_calls++;
    int error = engine_call(pack, index, DESCRIPTOR_SHARED, &result);
    if (error != KERN_OK) {
        degrade(pack, index, DESCRIPTOR_SHARED, call_repeatable(&call), KERN_NO_POSITION, error, &result);
    }
    call_release(&call);
    return call.out;
}

// ---- kern.<op>(*tensors, [dtype,] out=None, **params) ----

typedef struct _kern_op_obj_t {
    mp_obj_base_t base;
    qstr name;
} kern_op_obj_t;

mp_obj_t kern_op_new(qstr name) {
    kern_op_obj_t *self = mp_obj_malloc(kern_op_obj_t, &kern_type_Op);
    self->name = name;
    return MP_OBJ_FROM_PTR(self);
}

static mp_obj_t op_call(mp_obj_t self_in, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    const kern_op_obj_t *self = MP_OBJ_TO_PTR(self_in);
    struct call_args given = { .n_args = n_args, .n_kw = n_kw, .args = args, .kw = args + n_args };
    kern_check_free();
    const struct gate_pack *pack = kern_active_pack();
    uint32_t index = call_choose(pack, qstr_str(self->name), &given);
    return call_once(pack, index, &given);
}

static void op_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind) {
    const kern_op_obj_t *self = MP_OBJ_TO_PTR(self_in);
    mp_printf(print, "<kernel %q>", self->name);
}

MP_DEFINE_CONST_OBJ_TYPE(
    kern_type_Op,
    MP_QSTR_kernel,
    MP_TYPE_FLAG_NONE,
    print, op_print,
    call, op_call
    );

// ---- kern.run(id, *tensors, out=None, **params) ----

// The arguments after the first, but for the one named `but`.
static struct call_args after_first(size_t n_args, const mp_obj_t *args, mp_map_t *kw, qstr but) {
    mp_obj_t *pairs = m_new(mp_obj_t, 2 * kw->used);
    struct call_args rest = { .n_args = n_args - 1, .args = args + 1, .kw = pairs };
    for (size_t i = 0; i < kw->alloc; i++) {
        if (mp_map_slot_is_filled(kw, i) && kw->table[i].key != MP_OBJ_NEW_QSTR(but)) {
            pairs[2 * rest.n_kw] = kw->table[i].key;
            pairs[2 * rest.n_kw + 1] = kw->table[i].value;
            rest.n_kw++;
        }
    }
    return rest;
}

static mp_obj_t kern_run(size_t n_args, const mp_obj_t *args, mp_map_t *kw) {
    kern_check_free();
    const struct gate_pack *pack = kern_active_pack();
    struct call_args rest = after_first(n_args, args, kw, MP_QSTRnull);
    return call_once(pack, kern_find_kernel(pack, mp_obj_str_get_str(args[0])), &rest);
}
MP_DEFINE_CONST_FUN_OBJ_KW(kern_run_obj, 1, kern_run);

// ---- kern.bind(id, *tensors, out=None, reference=False, **params) ----

typedef struct _kern_bound_obj_t {
    struct guard_call call; // its kind is the type, with which every object begins
    const struct gate_pack *pack;
    uint32_t index;
    uint32_t generation; // of the pack; after another installation the kernel may be another one
    kern_tensor_obj_t *descriptor;
    const struct engine_native *native; // NULL: the pack's kernel
    bool repeatable;
    uint32_t cycles;
    mp_obj_t out;
    kern_tensor_obj_t *kept[IMAGE_REGIONS];
} kern_bound_obj_t;

static mp_obj_t kern_bind(size_t n_args, const mp_obj_t *args, mp_map_t *kw) {
    kern_check_free();
    const struct gate_pack *pack = kern_active_pack();
    uint32_t index = kern_find_kernel(pack, mp_obj_str_get_str(args[0]));
    const struct engine_native *native = NULL;
    mp_map_elem_t *reference = mp_map_lookup(kw, MP_OBJ_NEW_QSTR(MP_QSTR_reference), MP_MAP_LOOKUP);
    if (reference != NULL && mp_obj_is_true(reference->value)) {
        const char *id = mp_obj_str_get_str(mp_obj_is_str(reference->value) ? reference->value : args[0]);
        native = engine_find_native(id);
        if (native == NULL) {
            kern_raise(KERN_NO_SUCH_KERNEL, MP_ERROR_TEXT("the firmware has no reference of %s"), id);
        }
    }
    struct call_args rest = after_first(n_args, args, kw, MP_QSTR_reference);
    struct call call;
    call_prepare(&call, pack, index, &rest);
    uint32_t size = DESCRIPTOR_BLOCK;
    kern_bound_obj_t *self = m_new_obj(kern_bound_obj_t);
    self->call = (struct guard_call) { .kind = &kern_type_Bound, .ticket = ENGINE_NEVER_READY };
    self->pack = pack;
    self->index = index;
    self->generation = kern_pack_generation();
    self->native = native;
    self->repeatable = call_repeatable(&call);
    self->cycles = 0;
    self->out = call.out;
    memcpy(self->kept, call.kept, sizeof(self->kept));
    self->descriptor = kern_tensor_new(layout_dtype_named("u8"), &size, 1);
    call_check_memory(&call.kernel, arena_offset(self->descriptor->data) + size);
    descriptor_write(arena_offset(self->descriptor->data), call.regions, call.sizes, call.params, call_param_count(&call));
    return MP_OBJ_FROM_PTR(self);
}
MP_DEFINE_CONST_FUN_OBJ_KW(kern_bind_obj, 1, kern_bind);

static inline __attribute__((always_inline)) int run_ready(const mp_obj_t *calls, size_t count, struct engine_result *result) {
    return engine_run((const struct guard_call *const *)calls, count, &kern_type_Bound, result);
}

static void run_reference(const kern_bound_obj_t *self, int position, struct engine_result *result) {
    struct image_kernel kernel = image_kernel(&self->pack->image, self->index);
    int error = engine_call_native(self->native, kernel.max_ticks, arena_offset(self->descriptor->data), result);
    if (error != KERN_OK) {
        kern_raise_fault(position, kernel.id, error, result);
    }
}

// A call that is not ready, or that ended with `error`: make it ready, or have its reference run. Returns whether it is done. Raises
// TypeError for what is no bound call, NoSuchKernel, KernelError.
static bool resolve(mp_obj_t o, int position, int error, struct engine_result *result) {
    if (!mp_obj_is_type(o, &kern_type_Bound)) {
        mp_raise_msg_varg(&mp_type_TypeError, MP_ERROR_TEXT("batch[%d] is a %s, must be a Bound"), position, mp_obj_get_type_str(o));
    }
    kern_bound_obj_t *self = MP_OBJ_TO_PTR(o);
    if (error == GUARD_NOT_READY && self->generation != kern_pack_generation()) {
        kern_raise(KERN_NO_SUCH_KERNEL, MP_ERROR_TEXT("another pack or key set was installed: bind again"));
    }
    if (error == GUARD_NOT_READY && self->native == NULL) {
        error = engine_prepare(&self->call, self->pack, self->index, arena_offset(self->descriptor->data), result);
        if (error == KERN_OK) {
            return false;
        }
    }
    kern_calls++;
    if (self->native != NULL) {
        run_reference(self, position, result);
    } else {
        degrade(self->pack, self->index, arena_offset(self->descriptor->data), self->repeatable, position, error, result);
    }
    return true;
}

// engine_run of `count` bound calls returned `error`: go on from there to the end of them.
static __attribute__((noinline)) void go_on(const mp_obj_t *calls, size_t count, bool batch, int error, struct engine_result *result) {
    size_t done = 0;
    while (error != KERN_OK) {
        if (error == GUARD_BUSY) {
            raise_busy();
        }
        kern_calls += result->end.done;
        done += result->end.done;
        done += resolve(calls[done], batch ? (int)done : KERN_NO_POSITION, error, result);
        if (done == count) {
            return;
        }
        error = run_ready(calls + done, count - done, result);
    }
    kern_calls += count - done;
}

static mp_obj_t bound_call(mp_obj_t self_in, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    kern_bound_obj_t *self = MP_OBJ_TO_PTR(self_in);
    struct engine_result result;
    if ((n_args | n_kw) != 0) {
        mp_raise_TypeError(MP_ERROR_TEXT("a bound call takes no arguments"));
    }
    int error = run_ready(&self_in, 1, &result);
    if (error == KERN_OK) {
        kern_calls++;
    } else {
        go_on(&self_in, 1, false, error, &result);
    }
    self->cycles = result.end.cycles;
    return self->out;
}

static void bound_attr(mp_obj_t self_in, qstr attr, mp_obj_t *dest) {
    const kern_bound_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (dest[0] != MP_OBJ_NULL) {
        return;
    }
    if (attr == MP_QSTR_out) {
        dest[0] = self->out;
    } else if (attr == MP_QSTR_cycles) {
        dest[0] = mp_obj_new_int_from_uint(self->cycles);
    }
}

static void bound_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind) {
    const kern_bound_obj_t *self = MP_OBJ_TO_PTR(self_in);
    bool current = self->generation == kern_pack_generation();
    mp_printf(print, "<bound %s>", current ? image_kernel(&self->pack->image, self->index).id : "kernel of a former pack");
}

MP_DEFINE_CONST_OBJ_TYPE(
    kern_type_Bound,
    MP_QSTR_Bound,
    MP_TYPE_FLAG_NONE,
    print, bound_print,
    call, bound_call,
    attr, bound_attr
    );

// ---- kern.batch(calls) ----

static mp_obj_t kern_batch(mp_obj_t calls) {
    size_t count;
    mp_obj_t *items;
    struct engine_result result;
    mp_obj_get_array(calls, &count, &items);
    if (count != 0) {
        go_on(items, count, true, run_ready(items, count, &result), &result);
    }
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_1(kern_batch_obj, kern_batch);
