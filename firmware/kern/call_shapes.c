// Symbolic shapes: what a call's dimensions are, and whether its tensors agree about them. host/shapes.py does the same.
#include "call.h"

#include <string.h>

static bool stands_alone(const struct image_dim *dim) {
    return dim->symbol != IMAGE_CONSTANT && dim->multiplier == 1 && dim->divisor == 1;
}

// ---- messages ----

static void print_dim(const mp_print_t *print, const struct call *call, const struct image_dim *dim) {
    if (dim->symbol == IMAGE_CONSTANT) {
        mp_printf(print, "%u", dim->multiplier);
        return;
    }
    mp_print_str(print, image_symbol(&call->kernel, dim->symbol, NULL));
    if (dim->multiplier != 1) {
        mp_printf(print, "*%u", dim->multiplier);
    }
    if (dim->divisor != 1) {
        mp_printf(print, "/%u", dim->divisor);
    }
}

static void print_symbolic(const mp_print_t *print, const struct call *call, const struct image_tensor *tensor) {
    mp_print_str(print, tensor->flags & IMAGE_LEADING ? "(*" : "(");
    for (uint32_t i = 0; i < tensor->rank; i++) {
        mp_print_str(print, i == 0 ? "" : ", ");
        print_dim(print, call, &tensor->dims[i]);
    }
    mp_print_str(print, tensor->rank == 1 ? ",)" : ")");
}

static void print_actual(const mp_print_t *print, const struct argument *argument) {
    if (!argument->shaped) {
        mp_printf(print, "%u bytes", (unsigned)argument->nbytes);
        return;
    }
    mp_print_str(print, "shape (");
    for (uint32_t i = 0; i < argument->rank; i++) {
        mp_printf(print, i == 0 ? "%u" : ", %u", (unsigned)argument->dims[i]);
    }
    mp_print_str(print, argument->rank == 1 ? ",)" : ")");
}

static NORETURN void raise_value_error(vstr_t *message) {
    nlr_raise(mp_obj_new_exception_arg1(&mp_type_ValueError, mp_obj_new_str_from_vstr(message)));
}

// "x has shape (2, 3), must be (rows, dim) with rows = 4", with every alternative
static NORETURN void raise_shape(const struct call *call, uint32_t index, const struct argument *argument) {
    vstr_t message;
    mp_print_t print;
    vstr_init_print(&message, 64, &print);
    mp_printf(&print, "%s: %s has ", call->kernel.id, call->tensors[index].name);
    print_actual(&print, argument);
    mp_print_str(&print, ", must be ");
    print_symbolic(&print, call, &call->tensors[index]);
    while (++index < call->kernel.tensor_count && (call->tensors[index].flags & IMAGE_ALTERNATIVE)) {
        mp_print_str(&print, " or ");
        print_symbolic(&print, call, &call->tensors[index]);
    }
    const char *before = " with ";
    for (uint32_t i = 0; i < call->kernel.symbol_count; i++) {
        if (call->symbols[i] != 0) {
            mp_printf(&print, "%s%s = %u", before, image_symbol(&call->kernel, i, NULL), (unsigned)call->symbols[i]);
            before = ", ";
        }
    }
    raise_value_error(&message);
}

// `index` counts the kernel's dims; the message counts those that the argument has, of which several may be its leading one.
static NORETURN void raise_dim(const struct call *call, const struct image_tensor *tensor, const struct argument *argument,
    uint32_t index, uint32_t actual, uint32_t expected) {
    uint32_t more = argument->rank - tensor->rank;
    vstr_t message;
    mp_print_t print;
    vstr_init_print(&message, 64, &print);
    if (more != 0 && index == 0) {
        mp_printf(&print, "%s: leading dimensions of %s make ", call->kernel.id, tensor->name);
        print_dim(&print, call, &tensor->dims[0]);
        mp_printf(&print, " = %u, must be %u", (unsigned)actual, (unsigned)expected);
    } else {
        mp_printf(&print, "%s: dimension %u (", call->kernel.id, (unsigned)(index + more));
        print_dim(&print, call, &tensor->dims[index]);
        mp_printf(&print, ") of %s is %u, must be %u", tensor->name, (unsigned)actual, (unsigned)expected);
    }
    raise_value_error(&message);
}

static NORETURN void raise_not_whole(const struct call *call, const struct image_tensor *tensor, const struct image_dim *dim) {
    vstr_t message;
    mp_print_t print;
    vstr_init_print(&message, 64, &print);
    mp_printf(&print, "%s: %s is %u, but %s needs ", call->kernel.id, image_symbol(&call->kernel, dim->symbol, NULL),
        (unsigned)call->symbols[dim->symbol], tensor->name);
    print_dim(&print, call, dim);
    mp_print_str(&print, " to be a whole number");
    raise_value_error(&message);
}

// "kv_pack_q4: dim is 33, y needs a multiple of 32"
static NORETURN void raise_blocks(const struct call *call, const struct image_tensor *tensor, uint32_t actual) {
    const struct image_dim *dim = &tensor->dims[tensor->rank - 1];
    uint8_t block = layout_dtype(tensor->dtype)->block;
    if (stands_alone(dim)) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("%s: %s is %u, %s needs a multiple of %u"), call->kernel.id,
            image_symbol(&call->kernel, dim->symbol, NULL), (unsigned)actual, tensor->name, block);
    }
    mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("%s: the last dimension of %s is %u, must be a multiple of %u"), call->kernel.id,
        tensor->name, (unsigned)actual, block);
}

// ---- symbols ----

// Dims as the kernel counts them: leading ones multiplied where the tensor says so. False when the rank does not fit.
static bool fold(const struct image_tensor *tensor, const struct argument *argument, uint32_t folded[IMAGE_MAX_RANK]) {
    bool leading = tensor->flags & IMAGE_LEADING;
    uint32_t rest = tensor->rank - leading;
    if (argument->rank < rest || (!leading && argument->rank != rest)) {
        return false;
    }
    uint32_t lead = argument->rank - rest;
    uint64_t product = 1;
    for (uint32_t i = 0; i < lead && product <= UINT32_MAX; i++) {
        product *= argument->dims[i];
    }
    folded[0] = (uint32_t)product;
    memcpy(folded + leading, argument->dims + lead, rest * sizeof(uint32_t));
    return product <= UINT32_MAX;
}

static void bind_shaped(struct call *call, uint32_t index) {
    const struct image_tensor *tensor = &call->tensors[index];
    uint32_t dims[IMAGE_MAX_RANK];
    if (!fold(tensor, &call->arguments[index], dims)) {
        raise_shape(call, index, &call->arguments[index]);
    }
    for (uint32_t i = 0; i < tensor->rank; i++) {
        const struct image_dim *dim = &tensor->dims[i];
        if (stands_alone(dim) && call->symbols[dim->symbol] == 0) {
            if (dims[i] == 0) {
                mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("%s: %s has %s = 0, must be at least 1"), call->kernel.id, tensor->name,
                    image_symbol(&call->kernel, dim->symbol, NULL));
            }
            call->symbols[dim->symbol] = dims[i];
        }
    }
}

// A plain buffer gives the one symbol that nothing else gives, from its size.
static void bind_sized(struct call *call, uint32_t index) {
    const struct image_tensor *tensor = &call->tensors[index];
    const struct argument *argument = &call->arguments[index];
    const struct layout_dtype *dtype = layout_dtype(tensor->dtype);
    uint64_t known = 1;
    uint8_t unknown = IMAGE_CONSTANT;
    for (uint32_t i = 0; i < tensor->rank && known <= UINT32_MAX; i++) {
        const struct image_dim *dim = &tensor->dims[i];
        uint32_t value;
        if (dim->symbol != IMAGE_CONSTANT && call->symbols[dim->symbol] == 0) {
            if (unknown != IMAGE_CONSTANT || !stands_alone(dim)) {
                mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("%s: the shape of %s is not known; use kern.tensor(shape, dtype, data)"),
                    call->kernel.id, tensor->name);
            }
            unknown = dim->symbol;
        } else if (layout_dim(dim, call->symbols, &value)) {
            known *= value;
        } else {
            raise_not_whole(call, tensor, dim);
        }
    }
    if (argument->nbytes % dtype->size != 0) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("%s: %s has %u bytes, must be a multiple of %u"), call->kernel.id, tensor->name,
            (unsigned)argument->nbytes, dtype->size);
    }
    uint32_t elements = argument->nbytes / dtype->size * dtype->block;
    if (unknown != IMAGE_CONSTANT) {
        if (elements == 0 || known > UINT32_MAX || elements % (uint32_t)known != 0) {
            raise_shape(call, index, argument);
        }
        call->symbols[unknown] = elements / (uint32_t)known;
    }
}

void call_solve(struct call *call) {
    for (int shaped = 1; shaped >= 0; shaped--) {
        for (uint32_t i = 0; i < call->kernel.tensor_count; i++) {
            const struct image_tensor *tensor = &call->tensors[i];
            if (call_is_input(tensor) && !(tensor->flags & IMAGE_OPTIONAL) && call->arguments[i].shaped == shaped) {
                (shaped ? bind_shaped : bind_sized)(call, i);
            }
        }
    }
}

// ---- checks ----

static bool matches(const struct call *call, const struct image_tensor *tensor, const struct argument *argument) {
    uint32_t expected[IMAGE_MAX_RANK], actual[IMAGE_MAX_RANK], nbytes;
    if (!layout_dims(tensor, call->symbols, expected)) {
        return false;
    }
    if (argument->shaped) {
        return fold(tensor, argument, actual) && memcmp(actual, expected, tensor->rank * sizeof(uint32_t)) == 0;
    }
    return layout_bytes(layout_dtype(tensor->dtype), expected, tensor->rank, &nbytes) && nbytes == argument->nbytes;
}

uint32_t call_match(const struct call *call, uint32_t index, const struct argument *argument) {
    uint32_t end = index;
    do {
        if (matches(call, &call->tensors[end], argument)) {
            return end;
        }
        end++;
    } while (end < call->kernel.tensor_count && (call->tensors[end].flags & IMAGE_ALTERNATIVE));
    // With one shape to choose from, name the dim that is wrong.
    const struct image_tensor *tensor = &call->tensors[index];
    uint32_t actual[IMAGE_MAX_RANK], expected[IMAGE_MAX_RANK];
    if (end == index + 1 && argument->shaped && fold(tensor, argument, actual)) {
        call_dims(call, tensor, expected);
        for (uint32_t i = 0; i < tensor->rank; i++) {
            if (actual[i] != expected[i]) {
                raise_dim(call, tensor, argument, i, actual[i], expected[i]);
            }
        }
    }
    raise_shape(call, index, argument);
}

void call_check_blocks(const struct call *call, const struct image_tensor *tensor) {
    uint8_t block = layout_dtype(tensor->dtype)->block;
    uint32_t last;
    if (block > 1 && layout_dim(&tensor->dims[tensor->rank - 1], call->symbols, &last) && last % block != 0) {
        raise_blocks(call, tensor, last);
    }
}

void call_dims(const struct call *call, const struct image_tensor *tensor, uint32_t dims[IMAGE_MAX_RANK]) {
    for (uint32_t i = 0; i < tensor->rank; i++) {
        if (!layout_dim(&tensor->dims[i], call->symbols, &dims[i])) {
            raise_not_whole(call, tensor, &tensor->dims[i]);
        }
    }
}

uint32_t call_output_dims(const struct call *call, const struct image_tensor *output, uint32_t dims[KERN_MAX_RANK]) {
    uint32_t folded[IMAGE_MAX_RANK], lead = 1;
    call_dims(call, output, folded);
    dims[0] = folded[0];
    for (uint32_t i = 0; (output->flags & IMAGE_LEADING) && i < call->kernel.tensor_count; i++) {
        const struct image_tensor *input = &call->tensors[i];
        const struct argument *argument = &call->arguments[i];
        if (call->given[i] != MP_OBJ_NULL && argument->shaped && call_is_input(input) && (input->flags & IMAGE_LEADING)
            && memcmp(&input->dims[0], &output->dims[0], sizeof(input->dims[0])) == 0) {
            lead = argument->rank - (input->rank - 1);
            if (lead + output->rank - 1 > KERN_MAX_RANK) {
                mp_raise_ValueError(MP_ERROR_TEXT("too many dimensions"));
            }
            memcpy(dims, argument->dims, lead * sizeof(uint32_t));
            break;
        }
    }
    memcpy(dims + lead, folded + 1, (output->rank - 1) * sizeof(uint32_t));
    return lead + output->rank - 1;
}
