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

void call_describe(mp_obj_t o, const char *name, struct argument *argument) {
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
    if (mp_obj_is_str(o) || !mp_get_buffer(o, &buffer, MP_BUFFER_READ)) {
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

void call_read_tensors(const struct image_kernel *kernel, struct image_tensor tensors[IMAGE_MAX_TENSORS]) {
    for (uint32_t i = 0; i < kernel->tensor_count; i++) {
        tensors[i] = image_tensor(kernel, i);
    }
}

// Whether an argument of that name is for that tensor.
static bool is_called(const struct image_tensor *tensor, mp_obj_t name) {
    if (name == MP_OBJ_NEW_QSTR(MP_QSTR_out)) {
        return call_is_output(tensor);
    }
    return (call_is_input(tensor) || call_is_inout(tensor)) && strcmp(mp_obj_str_get_str(name), tensor->name) == 0;
}

static mp_obj_t given_by_name(const struct call_args *args, const struct image_tensor *tensor) {
    for (size_t i = 0; i < args->n_kw; i++) {
        if (args->kw[2 * i + 1] != mp_const_none && is_called(tensor, args->kw[2 * i])) {
            return args->kw[2 * i + 1];
        }
    }
    return MP_OBJ_NULL;
}

uint32_t call_sort(const struct image_kernel *kernel, const struct image_tensor *tensors, const struct call_args *args, mp_obj_t *given) {
    uint32_t places = 0;
    for (int inputs = 0; inputs <= 1; inputs++) {
        for (uint32_t i = 0; i < kernel->tensor_count; i++) {
            if (!(inputs ? call_is_input : call_is_output)(&tensors[i])) {
                continue;
            }
            given[i] = given_by_name(args, &tensors[i]);
            if (inputs || (call_is_inout(&tensors[i]) && given[i] == MP_OBJ_NULL)) {
                if (places < args->n_args && args->args[places] != mp_const_none) {
                    given[i] = args->args[places];
                }
                places++;
            }
        }
    }
    return places;
}

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

static bool is_tensor(const struct call *call, mp_obj_t name, mp_obj_t value) {
    for (uint32_t i = 0; i < call->kernel.tensor_count; i++) {
        if (is_called(&call->tensors[i], name)) {
            if (value != mp_const_none && value != call->given[i]) {
                mp_raise_msg_varg(&mp_type_TypeError, MP_ERROR_TEXT("%s: %s is given twice"), call->kernel.id, mp_obj_str_get_str(name));
            }
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

// What is given for a tensor goes with its dtype, and what has to be given is.
static void check_given(struct call *call, uint32_t index) {
    const struct image_tensor *tensor = &call->tensors[index];
    mp_obj_t o = call->given[index];
    if (o == MP_OBJ_NULL) {
        if (call_must_be_given(tensor)) {
            mp_raise_msg_varg(&mp_type_TypeError, call_is_input(tensor) ? MP_ERROR_TEXT("%s: input %s is missing")
                : MP_ERROR_TEXT("%s: %s is read first, and is missing"), call->kernel.id, tensor->name);
        }
        return;
    }
    if (call_is_output(tensor) && !mp_obj_is_type(o, &kern_type_Tensor)) {
        mp_raise_msg_varg(&mp_type_TypeError, MP_ERROR_TEXT("%s: %s is a %s, must be a Tensor"), call->kernel.id, tensor->name,
            mp_obj_get_type_str(o));
    }
    call_describe(o, tensor->name, &call->arguments[index]);
    check_dtype(call, tensor, &call->arguments[index]);
}

static void take_arguments(struct call *call, const struct call_args *args) {
    uint32_t places = call_sort(&call->kernel, call->tensors, args, call->given);
    if (args->n_args > places) {
        mp_raise_msg_varg(&mp_type_TypeError, MP_ERROR_TEXT("%s takes %u tensors but %u were given"), call->kernel.id, (unsigned)places,
            (unsigned)args->n_args);
    }
    for (uint32_t i = 0; i < call->kernel.param_count; i++) {
        call->params[call->kernel.symbol_count + i] = image_param(&call->kernel, i).value;
    }
    for (size_t i = 0; i < args->n_kw; i++) {
        mp_obj_t name = args->kw[2 * i], value = args->kw[2 * i + 1];
        if (!is_tensor(call, name, value) && !take_param(call, mp_obj_str_get_str(name), value)) {
            raise_unknown(call, mp_obj_str_get_str(name));
        }
    }
    for (uint32_t i = 0; i < call->kernel.tensor_count; i++) {
        check_given(call, i);
    }
}

// ---- places ----

void call_check_memory(const struct image_kernel *kernel, uint32_t end) {
    if (end > image_memory_limit(kernel)) {
        mp_raise_msg_varg(&mp_type_MemoryError, MP_ERROR_TEXT("%s: the call needs %u pages of memory, the limit is %u"), kernel->id,
            (unsigned)((end + IMAGE_MEMORY_PAGE - 1) / IMAGE_MEMORY_PAGE), (unsigned)kernel->max_pages);
    }
}

static void set_region(struct call *call, uint32_t region, kern_tensor_obj_t *tensor, uint32_t size, bool temporary) {
    uint32_t offset = arena_offset(tensor->data);
    call_check_memory(&call->kernel, offset + size);
    call->kept[region] = tensor;
    call->regions[region] = offset;
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

static void place_output(struct call *call, uint32_t index, uint32_t bytes) {
    const struct image_tensor *output = &call->tensors[index];
    call->out = call->given[index];
    if (call->out == MP_OBJ_NULL) {
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
        call_check_blocks(call, tensor);
        if (call->given[i] != MP_OBJ_NULL) {
            tensor = &call->tensors[call_match(call, i, &call->arguments[i])];
        }
        call_dims(call, tensor, dims);
        if (!layout_bytes(layout_dtype(tensor->dtype), dims, tensor->rank, &bytes[i])) {
            mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("%s: %s is too large"), call->kernel.id, tensor->name);
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

void call_prepare(struct call *call, const struct gate_pack *pack, uint32_t index, const struct call_args *args) {
    uint32_t generation = kern_pack_generation();
    memset(call, 0, sizeof(*call));
    call->kernel = image_kernel(&pack->image, index);
    call->out = mp_const_none;
    call_read_tensors(&call->kernel, call->tensors);
    take_arguments(call, args);
    call_solve(call);
    memcpy(call->params, call->symbols, call->kernel.symbol_count * sizeof(uint32_t));
    place(call);
    if (generation != kern_pack_generation()) { // by an argument's __float__ or __int__
        mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("another pack was installed meanwhile"));
    }
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
