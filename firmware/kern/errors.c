// Exception classes of module kern, from the one list in host/errors.py.
#include <stdarg.h> // before obj.h, which then has mp_obj_new_exception_msg_vlist

#include "modkern.h"

#include "py/objexcept.h"
#include "py/objstr.h"

#define kern_type_Exception mp_type_Exception

#define DEFINE_EXCEPTION(constant, name, parent_name, code, phrase) \
    MP_DEFINE_CONST_OBJ_TYPE( \
        kern_type_##name, \
        MP_QSTR_##name, \
        MP_TYPE_FLAG_NONE, \
        make_new, mp_obj_exception_make_new, \
        print, mp_obj_exception_print, \
        attr, mp_obj_exception_attr, \
        parent, &kern_type_##parent_name \
        );
KERN_ERRORS(DEFINE_EXCEPTION)

static const struct {
    int code;
    const mp_obj_type_t *type;
    const char *phrase;
} errors[] = {
    #define ERROR_ROW(constant, name, parent_name, code, phrase) { code, &kern_type_##name, phrase },
    KERN_ERRORS(ERROR_ROW)
};

static size_t find(int error) {
    for (size_t i = 0; i < MP_ARRAY_SIZE(errors); i++) {
        if (errors[i].code == error) {
            return i;
        }
    }
    return 0;
}

const mp_obj_type_t *kern_error_type(int error) {
    return errors[find(error)].type;
}

const char *kern_error_phrase(int error) {
    return errors[find(error)].phrase;
}

void kern_raise(int error, mp_rom_error_text_t format, ...) {
    va_list args;
    va_start(args, format);
    mp_obj_t exception = mp_obj_new_exception_msg_vlist(kern_error_type(error), format, args);
    va_end(args);
    nlr_raise(exception);
}

void kern_check(int error) {
    if (error != KERN_OK) {
        kern_raise(error, MP_ERROR_TEXT("%s"), kern_error_phrase(error));
    }
}

mp_obj_t kern_error_name(int error) {
    return MP_OBJ_NEW_QSTR(kern_error_type(error)->name);
}

int kern_error_of(int error, const struct engine_result *result) {
    int32_t returned = result->end.returned;
    bool known = returned >= KERN_INVALID_INPUT && returned <= KERN_KERNEL_INTERNAL_ERROR;
    return error == KERN_KERNEL_TRAP && known ? returned : error;
}

void kern_raise_fault(int position, const char *kernel, int error, const struct engine_result *result) {
    error = kern_error_of(error, result);
    vstr_t message;
    mp_print_t print;
    vstr_init_print(&message, 64, &print);
    if (position != KERN_NO_POSITION) {
        mp_printf(&print, "batch[%d]: ", position);
    }
    mp_printf(&print, "%s: %s", kernel, kern_error_phrase(error));
    if (error == KERN_LOAD_ERROR) {
        mp_printf(&print, " (%s)", engine_message());
    } else if (result->end.pc != 0) {
        mp_printf(&print, " (pc 0x%08x)", (unsigned)result->end.pc);
    }
    mp_obj_t args[2] = { mp_obj_new_str_from_vstr(&message), mp_obj_new_int(result->end.returned) };
    bool trap = mp_obj_is_subclass_fast(MP_OBJ_FROM_PTR(kern_error_type(error)), MP_OBJ_FROM_PTR(&kern_type_KernelTrap));
    nlr_raise(mp_obj_new_exception_args(kern_error_type(error), trap ? 2 : 1, args));
}
