// machine.Timer: soft timers of whole milliseconds, whose callbacks the scheduler calls.
#include "py/runtime.h"
#include "shared/runtime/softtimer.h"

#include "port.h"

// The objects are soft_timer_entry_t, which begin as objects do.
static mp_obj_t init(soft_timer_entry_t *self, size_t n_args, const mp_obj_t *pos_args, mp_map_t *kw_args) {
    enum { ARG_mode, ARG_callback, ARG_period, ARG_freq };
    static const mp_arg_t allowed_args[] = {
        { MP_QSTR_mode, MP_ARG_KW_ONLY | MP_ARG_INT, { .u_int = SOFT_TIMER_MODE_PERIODIC } },
        { MP_QSTR_callback, MP_ARG_KW_ONLY | MP_ARG_OBJ | MP_ARG_REQUIRED, { .u_rom_obj = MP_ROM_NONE } },
        { MP_QSTR_period, MP_ARG_KW_ONLY | MP_ARG_INT, { .u_int = 1 } },
        { MP_QSTR_freq, MP_ARG_KW_ONLY | MP_ARG_OBJ, { .u_rom_obj = MP_ROM_NONE } },
    };
    mp_arg_val_t args[MP_ARRAY_SIZE(allowed_args)];
    mp_arg_parse_all(n_args, pos_args, kw_args, MP_ARRAY_SIZE(allowed_args), allowed_args, args);
    mp_int_t period = args[ARG_period].u_int;
    if (args[ARG_freq].u_obj != mp_const_none) {
        period = (mp_int_t)(1000 / mp_obj_get_float(args[ARG_freq].u_obj));
    }
    soft_timer_remove(self);
    self->mode = args[ARG_mode].u_int;
    self->delta_ms = MAX(period, 1);
    self->py_callback = args[ARG_callback].u_obj;
    soft_timer_insert(self, self->delta_ms);
    return mp_const_none;
}

static mp_obj_t timer_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    soft_timer_entry_t *self = mp_obj_malloc(soft_timer_entry_t, type);
    soft_timer_static_init(self, SOFT_TIMER_MODE_PERIODIC, 1, NULL);
    self->flags = SOFT_TIMER_FLAG_PY_CALLBACK | SOFT_TIMER_FLAG_GC_ALLOCATED;
    mp_arg_check_num(n_args, n_kw, 0, 1, true);
    if (n_args == 1 && mp_obj_get_int(args[0]) != -1) {
        mp_raise_ValueError(MP_ERROR_TEXT("Timer doesn't exist"));
    }
    if (n_kw != 0) {
        mp_map_t kw_args;
        mp_map_init_fixed_table(&kw_args, n_kw, args + n_args);
        init(self, 0, NULL, &kw_args);
    }
    return MP_OBJ_FROM_PTR(self);
}

static mp_obj_t timer_init(size_t n_args, const mp_obj_t *args, mp_map_t *kw_args) {
    return init(MP_OBJ_TO_PTR(args[0]), n_args - 1, args + 1, kw_args);
}
static MP_DEFINE_CONST_FUN_OBJ_KW(timer_init_obj, 1, timer_init);

static mp_obj_t timer_deinit(mp_obj_t self) {
    soft_timer_remove(MP_OBJ_TO_PTR(self));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(timer_deinit_obj, timer_deinit);

static const mp_rom_map_elem_t timer_locals_table[] = {
    { MP_ROM_QSTR(MP_QSTR_init), MP_ROM_PTR(&timer_init_obj) },
    { MP_ROM_QSTR(MP_QSTR_deinit), MP_ROM_PTR(&timer_deinit_obj) },
    { MP_ROM_QSTR(MP_QSTR_ONE_SHOT), MP_ROM_INT(SOFT_TIMER_MODE_ONE_SHOT) },
    { MP_ROM_QSTR(MP_QSTR_PERIODIC), MP_ROM_INT(SOFT_TIMER_MODE_PERIODIC) },
};
static MP_DEFINE_CONST_DICT(timer_locals, timer_locals_table);

MP_DEFINE_CONST_OBJ_TYPE(
    machine_timer_type,
    MP_QSTR_Timer,
    MP_TYPE_FLAG_NONE,
    make_new, timer_make_new,
    locals_dict, &timer_locals
    );
