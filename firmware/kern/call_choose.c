// Choosing the kernel of an operation: by the dtypes of what is given, or by the name of one.
#include "call.h"

#include <string.h>

struct choice {
    const struct gate_pack *pack;
    const char *op;
    uint32_t count;
    uint8_t indices[IMAGE_MAX_KERNELS]; // of the kernels that are left
};

static struct image_kernel kernel_of(const struct choice *choice, uint32_t i) {
    return image_kernel(&choice->pack->image, choice->indices[i]);
}

static bool has_dtype(const struct image_kernel *kernel, uint8_t code) {
    for (uint32_t i = 0; i < kernel->tensor_count; i++) {
        struct image_tensor tensor = image_tensor(kernel, i);
        if (tensor.region != IMAGE_SCRATCH && tensor.dtype == code) {
            return true;
        }
    }
    return false;
}

static uint32_t count_with(const struct choice *choice, uint8_t code) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < choice->count; i++) {
        struct image_kernel kernel = kernel_of(choice, i);
        count += has_dtype(&kernel, code);
    }
    return count;
}

// ---- messages ----

static NORETURN void raise_with(const mp_obj_type_t *type, vstr_t *message) {
    nlr_raise(mp_obj_new_exception_arg1(type, mp_obj_new_str_from_vstr(message)));
}

// "kv_pack: no dtype 'q5'; its dtypes: f32, q8, q4"
static NORETURN void raise_no_dtype(const struct choice *choice, const char *name) {
    vstr_t message;
    mp_print_t print;
    vstr_init_print(&message, 64, &print);
    mp_printf(&print, "%s: no dtype '%s'; its dtypes: ", choice->op, name);
    const char *before = "";
    for (uint32_t code = 0; code <= UINT8_MAX; code++) {
        if (count_with(choice, code) != 0) {
            mp_printf(&print, "%s%s", before, layout_dtype(code)->name);
            before = ", ";
        }
    }
    raise_with(&mp_type_ValueError, &message);
}

// "rope_f32(x f32, freqs f32) -> f32"
static void print_kernel(const mp_print_t *print, const struct image_kernel *kernel) {
    const char *before = "", *result = "";
    mp_printf(print, "%s(", kernel->id);
    for (int inputs = 0; inputs <= 1; inputs++) {
        for (uint32_t i = 0; i < kernel->tensor_count; i++) {
            struct image_tensor tensor = image_tensor(kernel, i);
            const char *dtype = layout_dtype(tensor.dtype)->name;
            if (inputs ? call_is_input(&tensor) : call_is_inout(&tensor)) {
                mp_printf(print, "%s%s %s", before, tensor.name, dtype);
                before = ", ";
            }
            result = call_is_output(&tensor) ? dtype : result;
        }
    }
    mp_printf(print, ") -> %s", result);
}

// "rope: no kernel takes (i32); there is rope_f32(x f32, freqs f32) -> f32, rope_f16(...) -> f16"
static NORETURN void raise_none(const struct choice *choice, const struct call_args *args) {
    vstr_t message;
    mp_print_t print;
    vstr_init_print(&message, 128, &print);
    mp_printf(&print, "%s: no kernel takes (", choice->op);
    for (size_t i = 0; i < args->n_args; i++) {
        bool tensor = mp_obj_is_type(args->args[i], &kern_type_Tensor);
        mp_printf(&print, "%s%s", i == 0 ? "" : ", ",
            tensor ? ((kern_tensor_obj_t *)MP_OBJ_TO_PTR(args->args[i]))->dtype->name : mp_obj_get_type_str(args->args[i]));
    }
    mp_print_str(&print, "); there is ");
    for (uint32_t i = 0; i < choice->count; i++) {
        struct image_kernel kernel = kernel_of(choice, i);
        mp_print_str(&print, i == 0 ? "" : ", ");
        print_kernel(&print, &kernel);
    }
    raise_with(&mp_type_TypeError, &message);
}

// "kv_pack: kv_pack_q4 and kv_pack_q8 fit; name a dtype, as in kern.kv_pack(..., 'q4')"
static NORETURN void raise_several(const struct choice *choice) {
    vstr_t message;
    mp_print_t print;
    vstr_init_print(&message, 128, &print);
    mp_printf(&print, "%s: ", choice->op);
    for (uint32_t i = 0; i < choice->count; i++) {
        mp_printf(&print, "%s%s", i == 0 ? "" : i + 1 == choice->count ? " and " : ", ", kernel_of(choice, i).id);
    }
    struct image_kernel first = kernel_of(choice, 0);
    for (uint32_t i = 0; i < first.tensor_count; i++) {
        struct image_tensor tensor = image_tensor(&first, i);
        if (tensor.region != IMAGE_SCRATCH && count_with(choice, tensor.dtype) == 1) {
            mp_printf(&print, " fit; name a dtype, as in kern.%s(..., '%s')", choice->op, layout_dtype(tensor.dtype)->name);
            raise_with(&mp_type_TypeError, &message);
        }
    }
    mp_printf(&print, " fit; choose one, as in kern.run('%s', ...)", first.id);
    raise_with(&mp_type_TypeError, &message);
}

// ---- what fits ----

// FITS_AS_F32: of what is given some has no dtype, lists or plain bytes, and the kernel takes all of that as f32.
enum fit { MISFIT, FITS, FITS_AS_F32 };

static enum fit fit(const struct image_kernel *kernel, const struct call_args *args) {
    struct image_tensor tensors[IMAGE_MAX_TENSORS];
    mp_obj_t given[IMAGE_MAX_TENSORS] = { MP_OBJ_NULL };
    const struct layout_dtype *f32 = layout_dtype_named("f32");
    uint32_t plain = 0, plain_f32 = 0;
    call_read_tensors(kernel, tensors);
    if (args->n_args > call_sort(kernel, tensors, args, given)) {
        return MISFIT;
    }
    for (uint32_t i = 0; i < kernel->tensor_count; i++) {
        struct argument argument;
        if (given[i] == MP_OBJ_NULL) {
            if (call_must_be_given(&tensors[i])) {
                return MISFIT;
            }
            continue;
        }
        call_describe(given[i], tensors[i].name, &argument);
        if (argument.dtype == NULL) {
            plain++;
            plain_f32 += tensors[i].dtype == f32->code;
        } else if (argument.dtype->code != tensors[i].dtype) {
            return MISFIT;
        }
    }
    return plain != 0 && plain == plain_f32 ? FITS_AS_F32 : FITS;
}

// ---- choosing ----

static void keep_op(struct choice *choice) {
    for (uint32_t i = 0; i < choice->pack->image.kernel_count; i++) {
        if (strcmp(image_kernel(&choice->pack->image, i).op, choice->op) == 0) {
            choice->indices[choice->count++] = i;
        }
    }
    if (choice->count == 0) {
        kern_raise(KERN_NO_SUCH_KERNEL, MP_ERROR_TEXT("no kernel for '%s' in the pack"), choice->op);
    }
}

static void keep_dtype(struct choice *choice, const char *name) {
    const struct layout_dtype *dtype = layout_dtype_named(name);
    if (dtype == NULL || count_with(choice, dtype->code) == 0) {
        raise_no_dtype(choice, name);
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < choice->count; i++) {
        struct image_kernel kernel = kernel_of(choice, i);
        if (has_dtype(&kernel, dtype->code)) {
            choice->indices[kept++] = choice->indices[i];
        }
    }
    choice->count = kept;
}

static void keep_fitting(struct choice *choice, const struct call_args *args) {
    struct choice fitting = *choice, as_f32 = *choice;
    fitting.count = as_f32.count = 0;
    for (uint32_t i = 0; i < choice->count; i++) {
        struct image_kernel kernel = kernel_of(choice, i);
        enum fit how = fit(&kernel, args);
        if (how != MISFIT) {
            fitting.indices[fitting.count++] = choice->indices[i];
        }
        if (how == FITS_AS_F32) {
            as_f32.indices[as_f32.count++] = choice->indices[i];
        }
    }
    if (fitting.count == 0) {
        raise_none(choice, args);
    }
    if (fitting.count > 1 && as_f32.count != 1) {
        raise_several(&fitting);
    }
    *choice = fitting.count == 1 ? fitting : as_f32;
}

uint32_t call_choose(const struct gate_pack *pack, const char *op, struct call_args *args) {
    struct choice choice = { .pack = pack, .op = op };
    keep_op(&choice);
    if (args->n_args != 0 && mp_obj_is_str(args->args[args->n_args - 1])) {
        keep_dtype(&choice, mp_obj_str_get_str(args->args[--args->n_args]));
    }
    if (choice.count > 1) { // of a single one, its own check says best what is wrong with the arguments
        keep_fitting(&choice, args);
    }
    return choice.indices[0];
}
