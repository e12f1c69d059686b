// What the module says about itself: kern.status(), kern.stats() and kern.kernels().
#include "modkern.h"

#include <string.h>

#include "arena.h"
#include "kern_board.h"
#include "kern_build.h"

void kern_put(mp_obj_t dict, qstr key, mp_obj_t value) {
    mp_obj_dict_store(dict, MP_OBJ_NEW_QSTR(key), value);
}

static mp_obj_t from_uint(mp_uint_t value) {
    return mp_obj_new_int_from_uint(value);
}

mp_obj_t kern_hex(const uint8_t *bytes, size_t size) {
    vstr_t hex;
    mp_print_t print;
    vstr_init_print(&hex, 2 * size, &print);
    for (size_t i = 0; i < size; i++) {
        mp_printf(&print, "%02x", bytes[i]);
    }
    return mp_obj_new_str_from_vstr(&hex);
}

// ---- kern.status() ----

static mp_obj_t room(uint32_t size, uint32_t free) {
    mp_obj_t dict = mp_obj_new_dict(2);
    kern_put(dict, MP_QSTR_size, from_uint(size));
    kern_put(dict, MP_QSTR_free, from_uint(free));
    return dict;
}

static mp_obj_t kern_status(void) {
    uint32_t pool_size, pool_free;
    mp_obj_t dict = mp_obj_new_dict(14);
    kern_put(dict, MP_QSTR_version, mp_obj_new_str_from_cstr(KERN_VERSION));
    kern_put(dict, MP_QSTR_build, mp_obj_new_str_from_cstr(KERN_BUILD));
    kern_put(dict, MP_QSTR_variant, mp_obj_new_str_from_cstr(KERN_VARIANT));
    kern_put(dict, MP_QSTR_board, mp_obj_new_str_from_cstr(KERN_BOARD));
    kern_put(dict, MP_QSTR_target, mp_obj_new_str_from_cstr(KERN_TARGET));
    kern_put(dict, MP_QSTR_abi, from_uint(KERN_ABI));
    kern_put(dict, MP_QSTR_aot, from_uint(engine_aot_version()));
    kern_put(dict, MP_QSTR_wamr, mp_obj_new_str_from_cstr(engine_wamr_version()));
    kern_put(dict, MP_QSTR_pack, kern_pack_dict());
    kern_put(dict, MP_QSTR_keys, kern_keys_dict());
    kern_put(dict, MP_QSTR_arena, room(KERN_ARENA_SIZE, kern_arena_free_bytes()));
    engine_pool(&pool_size, &pool_free);
    kern_put(dict, MP_QSTR_pool, room(pool_size, pool_free));
    kern_put(dict, MP_QSTR_deadline_ms, from_uint(KERN_DEADLINE_MS));
    kern_put(dict, MP_QSTR_slot_size, from_uint(KERN_SLOT_SIZE));
    return dict;
}
MP_DEFINE_CONST_FUN_OBJ_0(kern_status_obj, kern_status);

// ---- kern.stats() ----

static const int error_codes[] = {
    #define ERROR_CODE(constant, name, parent, code, phrase) code,
    KERN_ERRORS(ERROR_CODE)
};

uint32_t kern_calls;

static struct {
    uint32_t degraded;
    bool strict, fell_back; // no fallbacks; whether one made up for the last fault
    uint32_t faults[MP_ARRAY_SIZE(error_codes)];
    char kernel[24]; // of the last fault; empty when there was none
    int error;
    struct engine_result result;
} stats;

void kern_stats_reset(void) {
    kern_calls = 0;
    memset(&stats, 0, sizeof(stats));
    MP_STATE_VM(kern_fallbacks) = MP_OBJ_TO_PTR(mp_obj_new_dict(0));
}

void kern_stats_degraded(const char *kernel) {
    mp_map_t *fallbacks = &MP_STATE_VM(kern_fallbacks)->map;
    mp_map_elem_t *count = mp_map_lookup(fallbacks, mp_obj_new_str_from_cstr(kernel), MP_MAP_LOOKUP_ADD_IF_NOT_FOUND);
    count->value = from_uint(count->value != MP_OBJ_NULL ? mp_obj_get_int(count->value) + 1 : 1);
    stats.degraded++;
    stats.fell_back = true;
}

bool kern_is_strict(void) {
    return stats.strict;
}

void kern_stats_fault(const char *kernel, int error, const struct engine_result *result) {
    error = kern_error_of(error, result);
    for (size_t i = 0; i < MP_ARRAY_SIZE(error_codes); i++) {
        stats.faults[i] += error_codes[i] == error;
    }
    strncpy(stats.kernel, kernel, sizeof(stats.kernel) - 1);
    stats.error = error;
    stats.fell_back = false;
    stats.result = *result;
}

static mp_obj_t known(uint32_t value) {
    return value != UINT32_MAX ? from_uint(value) : mp_const_none;
}

static mp_obj_t last_fault(void) {
    mp_obj_t dict = mp_obj_new_dict(7);
    kern_put(dict, MP_QSTR_kernel, mp_obj_new_str_from_cstr(stats.kernel));
    kern_put(dict, MP_QSTR_error, kern_error_name(stats.error));
    kern_put(dict, MP_QSTR_address, known(stats.result.end.address));
    kern_put(dict, MP_QSTR_function, known(stats.result.function));
    kern_put(dict, MP_QSTR_pc, from_uint(stats.result.end.pc));
    kern_put(dict, MP_QSTR_cycles, from_uint(stats.result.end.cycles));
    kern_put(dict, MP_QSTR_fallback, mp_obj_new_bool(stats.fell_back));
    return dict;
}

static mp_obj_t kern_stats(void) {
    mp_obj_t dict = mp_obj_new_dict(5), faults = mp_obj_new_dict(0);
    for (size_t i = 0; i < MP_ARRAY_SIZE(error_codes); i++) {
        if (stats.faults[i] != 0) {
            mp_obj_dict_store(faults, kern_error_name(error_codes[i]), from_uint(stats.faults[i]));
        }
    }
    kern_put(dict, MP_QSTR_calls, from_uint(kern_calls));
    kern_put(dict, MP_QSTR_faults, faults);
    kern_put(dict, MP_QSTR_degraded, from_uint(stats.degraded));
    kern_put(dict, MP_QSTR_fallbacks, mp_obj_dict_copy(MP_OBJ_FROM_PTR(MP_STATE_VM(kern_fallbacks))));
    kern_put(dict, MP_QSTR_last_fault, stats.kernel[0] != 0 ? last_fault() : mp_const_none);
    return dict;
}
MP_DEFINE_CONST_FUN_OBJ_0(kern_stats_obj, kern_stats);

MP_REGISTER_ROOT_POINTER(mp_obj_dict_t * kern_fallbacks); // how often, by kernel

// ---- kern.strict([on]) ----

static mp_obj_t kern_strict(size_t n_args, const mp_obj_t *args) {
    bool before = stats.strict;
    if (n_args == 1) {
        stats.strict = mp_obj_is_true(args[0]);
    }
    return mp_obj_new_bool(before);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(kern_strict_obj, 0, 1, kern_strict);

// ---- kern.kernels([id]) ----

static mp_obj_t dim_obj(const struct image_kernel *kernel, const struct image_dim *dim, bool leading) {
    if (dim->symbol == IMAGE_CONSTANT) {
        return from_uint(dim->multiplier);
    }
    vstr_t text;
    mp_print_t print;
    vstr_init_print(&text, 16, &print);
    mp_printf(&print, "%s%s", leading ? "*" : "", image_symbol(kernel, dim->symbol, NULL));
    if (dim->multiplier != 1) {
        mp_printf(&print, "*%u", dim->multiplier);
    }
    if (dim->divisor != 1) {
        mp_printf(&print, "/%u", dim->divisor);
    }
    return mp_obj_new_str_from_vstr(&text);
}

static mp_obj_t shape_obj(const struct image_kernel *kernel, const struct image_tensor *tensor) {
    mp_obj_t dims[IMAGE_MAX_RANK];
    for (uint32_t i = 0; i < tensor->rank; i++) {
        dims[i] = dim_obj(kernel, &tensor->dims[i], i == 0 && (tensor->flags & IMAGE_LEADING));
    }
    return mp_obj_new_tuple(tensor->rank, dims);
}

static mp_obj_t tensor_dict(const struct image_kernel *kernel, const struct image_tensor *tensor) {
    mp_obj_t dict = mp_obj_new_dict(5), shape = shape_obj(kernel, tensor);
    kern_put(dict, MP_QSTR_name, mp_obj_new_str_from_cstr(tensor->name));
    kern_put(dict, MP_QSTR_dtype, mp_obj_new_str_from_cstr(layout_dtype(tensor->dtype)->name));
    kern_put(dict, MP_QSTR_shapes, mp_obj_new_list(1, &shape));
    kern_put(dict, MP_QSTR_optional, mp_obj_new_bool(tensor->flags & IMAGE_OPTIONAL));
    kern_put(dict, MP_QSTR_inout, mp_obj_new_bool(tensor->flags & IMAGE_INOUT));
    return dict;
}

static mp_obj_t tensors_list(const struct image_kernel *kernel, uint32_t first, uint32_t last) {
    mp_obj_t list = mp_obj_new_list(0, NULL), dict = MP_OBJ_NULL;
    for (uint32_t i = 0; i < kernel->tensor_count; i++) {
        struct image_tensor tensor = image_tensor(kernel, i);
        if (tensor.region < first || tensor.region > last) {
            continue;
        }
        if (tensor.flags & IMAGE_ALTERNATIVE) {
            mp_obj_list_append(mp_obj_dict_get(dict, MP_OBJ_NEW_QSTR(MP_QSTR_shapes)), shape_obj(kernel, &tensor));
        } else {
            dict = tensor_dict(kernel, &tensor);
            mp_obj_list_append(list, dict);
        }
    }
    return list;
}

static mp_obj_t param_value(const struct image_param *param) {
    float f;
    switch (param->type) {
        case IMAGE_F32:
            memcpy(&f, &param->value, sizeof(f));
            return mp_obj_new_float_from_f(f);
        case IMAGE_I32:
            return mp_obj_new_int((int32_t)param->value);
        case IMAGE_U32:
            return from_uint(param->value);
        default:
            return mp_obj_new_bool(param->value);
    }
}

static mp_obj_t params_dict(const struct image_kernel *kernel) {
    mp_obj_t dict = mp_obj_new_dict(kernel->param_count);
    for (uint32_t i = 0; i < kernel->param_count; i++) {
        struct image_param param = image_param(kernel, i);
        mp_obj_dict_store(dict, mp_obj_new_str_from_cstr(param.name), param_value(&param));
    }
    return dict;
}

static mp_obj_t limits_dict(const struct image_kernel *kernel) {
    mp_obj_t dict = mp_obj_new_dict(3);
    kern_put(dict, MP_QSTR_max_memory_pages, from_uint(kernel->max_pages));
    kern_put(dict, MP_QSTR_max_epoch_ticks, from_uint(kernel->max_ticks));
    kern_put(dict, MP_QSTR_max_table_elements, from_uint(kernel->max_table_elements));
    return dict;
}

static mp_obj_t kernel_dict(const struct image_kernel *kernel) {
    mp_obj_t dict = mp_obj_new_dict(10);
    kern_put(dict, MP_QSTR_id, mp_obj_new_str_from_cstr(kernel->id));
    kern_put(dict, MP_QSTR_op, mp_obj_new_str_from_cstr(kernel->op));
    kern_put(dict, MP_QSTR_entry_point, mp_obj_new_str_from_cstr(kernel->entry));
    kern_put(dict, MP_QSTR_inputs, tensors_list(kernel, IMAGE_INPUT_A, IMAGE_INPUT_B));
    kern_put(dict, MP_QSTR_outputs, tensors_list(kernel, IMAGE_OUTPUT, IMAGE_OUTPUT));
    kern_put(dict, MP_QSTR_params, params_dict(kernel));
    kern_put(dict, MP_QSTR_limits, limits_dict(kernel));
    kern_put(dict, MP_QSTR_private_size, from_uint(kernel->private_size));
    kern_put(dict, MP_QSTR_body_size, from_uint(kernel->body_size));
    kern_put(dict, MP_QSTR_fallback, kernel->fallback[0] != 0 ? mp_obj_new_str_from_cstr(kernel->fallback) : mp_const_none);
    return dict;
}

static mp_obj_t kern_kernels(size_t n_args, const mp_obj_t *args) {
    const struct gate_pack *pack = kern_active_pack();
    if (n_args == 1) {
        struct image_kernel kernel = image_kernel(&pack->image, kern_find_kernel(pack, mp_obj_str_get_str(args[0])));
        return kernel_dict(&kernel);
    }
    mp_obj_t ids[IMAGE_MAX_KERNELS];
    for (uint32_t i = 0; i < pack->image.kernel_count; i++) {
        ids[i] = mp_obj_new_str_from_cstr(image_kernel(&pack->image, i).id);
    }
    return mp_obj_new_tuple(pack->image.kernel_count, ids);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(kern_kernels_obj, 0, 1, kern_kernels);
