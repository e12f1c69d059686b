// From Python arguments to regions of the arena: names, dtypes, places.
#include "call.h"

#include <string.h>

#include "arena.h"

// ---- what an argument is ----

// 'B' stands for plain bytes too, which go with any dtype.
static const struct layout_dtype *dtype_of_typecode(char typecode) {
    switch (typecode) {
        case 'f':
            return layout_dtype_named("f32");
        case 'b':
            return layout_dtype_named("i8");
        case 'h':
            return layout_dtype_named("i16");
        case 'H':
            return layout_dtype_named("u16");
        case 'i':
        case 'l':
            return layout_dtype_named("i32");
        case 'I':
        case 'L':
            return layout_dtype_named("u32");
        default:
            return NULL;
    }
}

static void describe(mp_obj_t o, const char *name, struct argument *argument) {
    argument->dtype = NULL;
    argument->shaped = true;
    if (mp_obj_is_type(o, &kern_type_Tensor)) {
        const kern_tensor_obj_t *tensor = MP_OBJ_TO_PTR(o);
        argument->dtype = tensor->dtype;
        argument->rank = tensor->rank;
        memcpy(argument->dims, tensor->dims, tensor->rank * sizeof(uint32_t));
        return;
    }
    if (mp_obj_is_type(o, &mp_type_list) || mp_obj_is_type(o, &mp_type_tuple)) {
        argument->rank = kern_nested_dims(o, argument->dims);
        return;
    }
    mp_buffer_info_t buffer;
    if (!mp_get_buffer(o, &buffer, MP_BUFFER_READ)) {
        mp_raise_msg_varg(&mp_type_TypeError, MP_ERROR_TEXT("%s is a %s, must be a Tensor, nested lists or have a buffer"), name,
            mp_obj_get_type_str(o));
    }
    argument->shaped = false;
    argument->rank = 0;
    argument->nbytes = buffer.len;
    argument->dtype = dtype_of_typecode(buffer.typecode);
}

static void check_dtype(const struct call *call, const struct image_tensor *tensor, const struct argument *argument) {
    if (argument->dtype != NULL && argument->dtype->code != tensor->dtype) {
        mp_raise_msg_varg(&mp_type_TypeError, MP_ERROR_TEXT("%s: %s is %s, must be %s"), call->kernel.id, tensor->name, argument->dtype->name,
            layout_dtype(tensor->dtype)->name);
    }
}

// ---- arguments by position and by name ----

static uint32_t param_bits(const struct call *call, const struct image_param *param, mp_obj_t value) {
    if (param->type == IMAGE_F32) {
        float f = mp_obj_get_float_to_f(value);
        uint32_t bits;
        memcpy(&bits, &f, sizeof(bits));
        return bits;
    }
    if (param->type == IMAGE_BOOL) {
        return mp_obj_is_true(value);
    }
    uint32_t bits = mp_obj_get_int_truncated(value);
    mp_obj_t back = param->type == IMAGE_I32 ? mp_obj_new_int((int32_t)bits) : mp_obj_new_int_from_uint(bits);
    if (!mp_obj_equal(back, value)) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("%s: parameter %s does not fit %s"), call->kernel.id, param->name,
            param->type == IMAGE_I32 ? "i32" : "u32");
    }
    return bits;
}

static bool take_param(struct call *call, const char *name, mp_obj_t value) {
    for (uint32_t i = 0; i < call->kernel.param_count; i++) {
        struct image_param param = image_param(&call->kernel, i);
        if (strcmp(param.name, name) == 0) {
            call->params[call->kernel.symbol_count + i] = param_bits(call, &param, value);
            return true;
        }
    }
    return false;
}

static bool take_input(struct call *call, const char *name, mp_obj_t value) {
    for (uint32_t i = 0; i < call->kernel.tensor_count; i++) {
        if (call_is_input(&call->tensors[i]) && strcmp(call->tensors[i].name, name) == 0) {
            if (call->given[i] != MP_OBJ_NULL) {
                mp_raise_msg_varg(&mp_type_TypeError, MP_ERROR_TEXT("%s: %s is given twice"), call->kernel.id, name);
            }
            call->given[i] = value == mp_const_none ? MP_OBJ_NULL : value;
            return true;
        }
    }
    return false;
}

static NORETURN void raise_unknown(const struct call *call, const char *name) {
    vstr_t known;
    vstr_init(&known, 32);
    for (uint32_t i = 0; i < call->kernel.param_count; i++) {
        vstr_add_str(&known, i == 0 ? "" : ", ");
        vstr_add_str(&known, image_param(&call->kernel, i).name);
    }
    mp_raise_msg_varg(&mp_type_TypeError, MP_ERROR_TEXT("%s has no parameter '%s'; its parameters: %s"), call->kernel.id, name,
        call->kernel.param_count == 0 ? "none" : vstr_null_terminated_str(&known));
}

static void take_positional(struct call *call, size_t n_args, const mp_obj_t *args) {
    size_t taken = 0;
    for (uint32_t i = 0; i < call->kernel.tensor_count && taken < n_args; i++) {
        if (call_is_input(&call->tensors[i])) {
            call->given[i] = args[taken] == mp_const_none ? MP_OBJ_NULL : args[taken];
            taken++;
        }
    }
    if (taken < n_args) {
        mp_raise_msg_varg(&mp_type_TypeError, MP_ERROR_TEXT("%s takes %u inputs but %u were given"), call->kernel.id, (unsigned)taken, (unsigned)n_args);
    }
}

static void take_arguments(struct call *call, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    take_positional(call, n_args, args);
    for (uint32_t i = 0; i < call->kernel.param_count; i++) {
        call->params[call->kernel.symbol_count + i] = image_param(&call->kernel, i).value;
    }
    for (size_t i = 0; i < n_kw; i++) {
        mp_obj_t key = args[n_args + 2 * i], value = args[n_args + 2 * i + 1];
        const char *name = mp_obj_str_get_str(key);
        if (key == MP_OBJ_NEW_QSTR(MP_QSTR_out)) {
            call->out = value;
        } else if (!take_input(call, name, value) && !take_param(call, name, value)) {
            raise_unknown(call, name);
        }
    }
    for (uint32_t i = 0; i < call->kernel.tensor_count; i++) {
        const struct image_tensor *tensor = &call->tensors[i];
        if (call->given[i] != MP_OBJ_NULL) {
            describe(call->given[i], tensor->name, &call->arguments[i]);
            check_dtype(call, tensor, &call->arguments[i]);
        } else if (call_is_input(tensor) && !(tensor->flags & IMAGE_OPTIONAL)) {
            mp_raise_msg_varg(&mp_type_TypeError, MP_ERROR_TEXT("%s: input %s is missing"), call->kernel.id, tensor->name);
        }
    }
}

// ---- places ----

static void set_region(struct call *call, uint32_t region, kern_tensor_obj_t *tensor, uint32_t size, bool temporary) {
    if (tensor->offset == ARENA_NONE) {
        mp_raise_ValueError(MP_ERROR_TEXT("tensor was freed"));
    }
    call->kept[region] = tensor;
    call->regions[region] = tensor->offset;
    call->sizes[region] = size;
    call->temporary[region] = temporary;
}

static kern_tensor_obj_t *block(uint32_t size) {
    return kern_tensor_new(layout_dtype_named("u8"), &size, 1);
}

// Where an argument is a Tensor alone in its region, the region is that tensor; else the region is a copy.
static void place_input(struct call *call, uint32_t index, uint32_t bytes, const struct layout *layout) {
    const struct image_tensor *tensor = &call->tensors[index];
    const struct argument *argument = &call->arguments[index];
    mp_obj_t o = call->given[index];
    if (layout->counts[tensor->region] == 1 && mp_obj_is_type(o, &kern_type_Tensor)) {
        set_region(call, tensor->region, MP_OBJ_TO_PTR(o), bytes, false);
        return;
    }
    if (call->kept[tensor->region] == NULL) {
        uint32_t size = layout->sizes[tensor->region];
        set_region(call, tensor->region, block(size), size, true);
    }
    uint8_t *p = arena_at(call->regions[tensor->region] + layout->offsets[index]);
    kern_fill(p, bytes, layout_dtype(tensor->dtype), argument->dims, argument->rank, o, tensor->name);
}

static void check_out(const struct call *call, uint32_t index) {
    const struct image_tensor *output = &call->tensors[index];
    struct argument argument;
    if (!mp_obj_is_type(call->out, &kern_type_Tensor)) {
        mp_raise_msg_varg(&mp_type_TypeError, MP_ERROR_TEXT("%s: out is a %s, must be a Tensor"), call->kernel.id, mp_obj_get_type_str(call->out));
    }
    describe(call->out, output->name, &argument);
    check_dtype(call, output, &argument);
    (void)call_match(call, index, &argument);
}

static void place_output(struct call *call, uint32_t index, uint32_t bytes) {
    const struct image_tensor *output = &call->tensors[index];
    if (call->out != mp_const_none) {
        check_out(call, index);
    } else if (output->flags & IMAGE_INOUT) {
        mp_raise_msg_varg(&mp_type_TypeError, MP_ERROR_TEXT("%s: %s is read first: give it as out"), call->kernel.id, output->name);
    } else {
        uint32_t dims[KERN_MAX_RANK], rank = call_output_dims(call, output, dims);
        call->out = MP_OBJ_FROM_PTR(kern_tensor_new(layout_dtype(output->dtype), dims, rank));
    }
    set_region(call, IMAGE_OUTPUT, MP_OBJ_TO_PTR(call->out), bytes, false);
}

// Bytes of every tensor that takes part.
static void measure(const struct call *call, uint32_t bytes[IMAGE_MAX_TENSORS]) {
    for (uint32_t i = 0; i < call->kernel.tensor_count; i++) {
        const struct image_tensor *tensor = &call->tensors[i];
        uint32_t dims[IMAGE_MAX_RANK];
        bytes[i] = 0;
        if ((tensor->flags & IMAGE_ALTERNATIVE) || (call_is_input(tensor) && call->given[i] == MP_OBJ_NULL)) {
            continue;
        }
        if (call_is_input(tensor)) {
            tensor = &call->tensors[call_match(call, i, &call->arguments[i])];
        }
        call_dims(call, tensor, dims);
        if (!layout_bytes(layout_dtype(tensor->dtype), dims, tensor->rank, &bytes[i])) {
            mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("%s: %s is too large or not made of whole blocks"), call->kernel.id, tensor->name);
        }
    }
}

static void place(struct call *call) {
    uint32_t bytes[IMAGE_MAX_TENSORS];
    struct layout layout;
    measure(call, bytes);
    if (!layout_regions(&call->kernel, bytes, &layout)) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("%s: tensors too large"), call->kernel.id);
    }
    if (layout.counts[IMAGE_OUTPUT] > 1) {
        mp_raise_msg_varg(&mp_type_NotImplementedError, MP_ERROR_TEXT("%s has more than one output"), call->kernel.id);
    }
    for (uint32_t i = 0; i < call->kernel.tensor_count; i++) {
        if (bytes[i] != 0 && call_is_input(&call->tensors[i])) {
            place_input(call, i, bytes[i], &layout);
        } else if (bytes[i] != 0 && call->tensors[i].region == IMAGE_OUTPUT) {
            place_output(call, i, bytes[i]);
        }
    }
    if (layout.sizes[IMAGE_SCRATCH] != 0) {
        set_region(call, IMAGE_SCRATCH, block(layout.sizes[IMAGE_SCRATCH]), layout.sizes[IMAGE_SCRATCH], true);
    }
}

void call_prepare(struct call *call, const struct gate_pack *pack, uint32_t index, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    memset(call, 0, sizeof(*call));
    call->kernel = image_kernel(&pack->image, index);
    call->out = mp_const_none;
    for (uint32_t i = 0; i < call->kernel.tensor_count; i++) {
        call->tensors[i] = image_tensor(&call->kernel, i);
    }
    take_arguments(call, n_args, n_kw, args);
    call_solve(call);
    memcpy(call->params, call->symbols, call->kernel.symbol_count * sizeof(uint32_t));
    place(call);
}

void call_release(struct call *call) {
    for (uint32_t region = 0; region < IMAGE_REGIONS; region++) {
        if (call->temporary[region]) {
            kern_tensor_free(call->kept[region]);
        }
    }
}

bool call_repeatable(const struct call *call) {
    uint32_t out = call->regions[IMAGE_OUTPUT], out_end = out + call->sizes[IMAGE_OUTPUT];
    for (uint32_t region = IMAGE_INPUT_A; region <= IMAGE_INPUT_B; region++) {
        if (call->regions[region] < out_end && out < call->regions[region] + call->sizes[region]) {
            return false;
        }
    }
    for (uint32_t i = 0; i < call->kernel.tensor_count; i++) {
        if (call->tensors[i].flags & IMAGE_INOUT) {
            return false;
        }
    }
    return true;
}

// ---- choosing a kernel ----

static bool accepts(const struct image_kernel *kernel, size_t n_args, const mp_obj_t *args) {
    size_t taken = 0;
    for (uint32_t i = 0; i < kernel->tensor_count && taken < n_args; i++) {
        struct image_tensor tensor = image_tensor(kernel, i);
        if (!call_is_input(&tensor)) {
            continue;
        }
        struct argument argument = { 0 };
        if (args[taken] != mp_const_none) {
            describe(args[taken], tensor.name, &argument);
        }
        if (argument.dtype != NULL && argument.dtype->code != tensor.dtype) {
            return false;
        }
        taken++;
    }
    return taken == n_args;
}

uint32_t call_choose(const struct gate_pack *pack, const char *op, size_t n_args, const mp_obj_t *args) {
    uint32_t candidates[IMAGE_MAX_KERNELS], count = 0;
    for (uint32_t i = 0; i < pack->image.kernel_count; i++) {
        if (strcmp(image_kernel(&pack->image, i).op, op) == 0) {
            candidates[count++] = i;
        }
    }
    if (count == 1) {
        return candidates[0]; // whose own check of the arguments says best what is wrong with them
    }
    for (uint32_t i = 0; i < count; i++) {
        struct image_kernel kernel = image_kernel(&pack->image, candidates[i]);
        if (accepts(&kernel, n_args, args)) {
            return candidates[i];
        }
    }
    kern_raise(KERN_NO_SUCH_KERNEL, count == 0 ? MP_ERROR_TEXT("no kernel for '%s' in the pack")
        : MP_ERROR_TEXT("no kernel for '%s' takes these dtypes"), op);
}
