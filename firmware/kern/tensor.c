// Tensor: an n-dimensional array in the arena, where kernels reach it without a copy.
#include "modkern.h"

#include <string.h>

#include "py/binary.h"
#include "py/objlist.h"
#include "py/objtuple.h"

#include "arena.h"
#include "softfloat_rare.h"

kern_tensor_obj_t *kern_tensor_new(const struct layout_dtype *dtype, const uint32_t *dims, uint32_t rank) {
    uint32_t nbytes;
    if (!layout_bytes(dtype, dims, rank, &nbytes)) {
        if (dtype->block > 1 && (rank == 0 || dims[rank - 1] % dtype->block != 0)) {
            mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("the last dimension of a %s tensor is %u, must be a multiple of %u"),
                dtype->name, rank != 0 ? (unsigned)dims[rank - 1] : 0, dtype->block);
        }
        mp_raise_ValueError(MP_ERROR_TEXT("shape too large"));
    }
    kern_tensor_obj_t *self = mp_obj_malloc_var_with_finaliser(kern_tensor_obj_t, uint32_t, rank, &kern_type_Tensor);
    self->nbytes = nbytes;
    self->dtype = dtype;
    self->rank = rank;
    memcpy(self->dims, dims, rank * sizeof(uint32_t));
    self->data = kern_arena_alloc(nbytes);
    return self;
}

void kern_tensor_free(kern_tensor_obj_t *self) {
    arena_free(arena_offset(self->data));
    m_del_var(kern_tensor_obj_t, dims, uint32_t, self->rank, self);
}

// ---- filling ----

static void set_element(uint8_t *p, const struct layout_dtype *dtype, mp_obj_t value) {
    if (dtype->typecode == 'e') {
        // MicroPython's own conversion rounds some ties the wrong way.
        float f = mp_obj_get_float_to_f(value);
        uint32_t bits;
        memcpy(&bits, &f, sizeof(bits));
        uint16_t half = (uint16_t)sf_to_f16_rare(bits);
        memcpy(p, &half, sizeof(half));
    } else {
        mp_binary_set_val('<', dtype->typecode, value, p, &p);
    }
}

static bool is_nested(mp_obj_t o) {
    return mp_obj_is_type(o, &mp_type_list) || mp_obj_is_type(o, &mp_type_tuple);
}

uint32_t kern_nested_dims(mp_obj_t nested, uint32_t dims[KERN_MAX_RANK]) {
    uint32_t rank = 0;
    while (is_nested(nested)) {
        size_t count;
        mp_obj_t *items;
        if (rank == KERN_MAX_RANK) {
            mp_raise_ValueError(MP_ERROR_TEXT("too many dimensions"));
        }
        mp_obj_get_array(nested, &count, &items);
        dims[rank++] = count;
        if (count == 0) {
            break;
        }
        nested = items[0];
    }
    return rank;
}

static uint8_t *fill_nested(uint8_t *p, const struct layout_dtype *dtype, const uint32_t *dims, uint32_t rank, mp_obj_t data, const char *name) {
    if (rank == 0) {
        set_element(p, dtype, data);
        return p + dtype->size;
    }
    if (!is_nested(data)) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("%s: ragged nested lists"), name);
    }
    for (size_t i = 0; i < dims[0]; i++) {
        size_t count;
        mp_obj_t *items;
        mp_obj_get_array(data, &count, &items); // anew each time: an element's __float__ may have changed the list
        if (count != dims[0]) {
            mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("%s: a list has %u elements, must have %u"), name, (unsigned)count, (unsigned)dims[0]);
        }
        p = fill_nested(p, dtype, dims + 1, rank - 1, items[i], name);
    }
    return p;
}

void kern_fill(uint8_t *p, uint32_t nbytes, const struct layout_dtype *dtype, const uint32_t *dims, uint32_t rank, mp_obj_t data, const char *name) {
    mp_buffer_info_t buffer;
    if (mp_get_buffer(data, &buffer, MP_BUFFER_READ)) {
        if (buffer.len != nbytes) {
            mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("%s: data has %u bytes, must have %u"), name, (unsigned)buffer.len, (unsigned)nbytes);
        }
        memmove(p, buffer.buf, nbytes);
        return;
    }
    if (dtype->typecode == 0) {
        mp_raise_msg_varg(&mp_type_TypeError, MP_ERROR_TEXT("%s: a %s tensor takes bytes, not numbers"), name, dtype->name);
    }
    if (rank != 0 && !is_nested(data)) {
        mp_raise_msg_varg(&mp_type_TypeError, MP_ERROR_TEXT("%s is a %s, must be a Tensor, nested lists or have a buffer"), name,
            mp_obj_get_type_str(data));
    }
    uint32_t nested_dims[KERN_MAX_RANK], elements = nbytes / dtype->size;
    bool flat = rank != 0 && kern_nested_dims(data, nested_dims) == 1; // all elements in one list
    fill_nested(p, dtype, flat ? &elements : dims, flat ? 1 : rank, data, name);
}

// ---- kern.tensor(shape, dtype='f32', data=None) ----

static uint32_t get_dim(mp_obj_t o) {
    mp_int_t dim = mp_obj_get_int(o);
    if (dim < 1) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("a dimension is %d, must be at least 1"), (int)dim);
    }
    if (dim != (int32_t)dim) { // on 64 bits; on 32, mp_obj_get_int has raised the same
        mp_raise_msg(&mp_type_OverflowError, MP_ERROR_TEXT("overflow converting long int to machine word"));
    }
    return dim;
}

static uint32_t get_shape(mp_obj_t shape, uint32_t dims[KERN_MAX_RANK]) {
    if (mp_obj_is_int(shape)) {
        dims[0] = get_dim(shape);
        return 1;
    }
    size_t rank;
    mp_obj_t *items, copy[KERN_MAX_RANK]; // a dimension's __int__ may change the list
    mp_obj_get_array(shape, &rank, &items);
    if (rank > KERN_MAX_RANK) {
        mp_raise_ValueError(MP_ERROR_TEXT("too many dimensions"));
    }
    memcpy(copy, items, rank * sizeof(mp_obj_t));
    for (size_t i = 0; i < rank; i++) {
        dims[i] = get_dim(copy[i]);
    }
    return rank;
}

static mp_obj_t kern_tensor(size_t n_args, const mp_obj_t *pos_args, mp_map_t *kw_args) {
    enum { ARG_shape, ARG_dtype, ARG_data };
    static const mp_arg_t allowed_args[] = {
        { MP_QSTR_shape, MP_ARG_REQUIRED | MP_ARG_OBJ, {.u_rom_obj = MP_ROM_NONE} },
        { MP_QSTR_dtype, MP_ARG_OBJ, {.u_rom_obj = MP_ROM_QSTR(MP_QSTR_f32)} },
        { MP_QSTR_data, MP_ARG_OBJ, {.u_rom_obj = MP_ROM_NONE} },
    };
    mp_arg_val_t args[MP_ARRAY_SIZE(allowed_args)];
    mp_arg_parse_all(n_args, pos_args, kw_args, MP_ARRAY_SIZE(allowed_args), allowed_args, args);
    const struct layout_dtype *dtype = layout_dtype_named(mp_obj_str_get_str(args[ARG_dtype].u_obj));
    if (dtype == NULL) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("no dtype '%s'"), mp_obj_str_get_str(args[ARG_dtype].u_obj));
    }
    uint32_t dims[KERN_MAX_RANK], rank = get_shape(args[ARG_shape].u_obj, dims);
    kern_tensor_obj_t *self = kern_tensor_new(dtype, dims, rank);
    if (args[ARG_data].u_obj == mp_const_none) {
        memset(self->data, 0, self->nbytes);
    } else {
        kern_fill(self->data, self->nbytes, dtype, dims, rank, args[ARG_data].u_obj, "tensor");
    }
    return MP_OBJ_FROM_PTR(self);
}
MP_DEFINE_CONST_FUN_OBJ_KW(kern_tensor_obj, 1, kern_tensor);

// ---- methods ----

static mp_obj_t tensor_shape(const kern_tensor_obj_t *self) {
    mp_obj_tuple_t *shape = MP_OBJ_TO_PTR(mp_obj_new_tuple(self->rank, NULL));
    for (uint32_t i = 0; i < self->rank; i++) {
        shape->items[i] = mp_obj_new_int_from_uint(self->dims[i]);
    }
    return MP_OBJ_FROM_PTR(shape);
}

static void tensor_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind) {
    const kern_tensor_obj_t *self = MP_OBJ_TO_PTR(self_in);
    mp_print_str(print, "Tensor(");
    mp_obj_print_helper(print, tensor_shape(self), PRINT_REPR);
    mp_printf(print, ", '%s')", self->dtype->name);
}

static mp_obj_t list_of(const kern_tensor_obj_t *self, uint32_t depth, uint8_t **p) {
    if (depth == self->rank) {
        return mp_binary_get_val('<', self->dtype->typecode, *p, p);
    }
    mp_obj_list_t *list = MP_OBJ_TO_PTR(mp_obj_new_list(self->dims[depth], NULL));
    for (uint32_t i = 0; i < self->dims[depth]; i++) {
        list->items[i] = mp_const_none; // what the collector finds while the rest is made
    }
    for (uint32_t i = 0; i < self->dims[depth]; i++) {
        list->items[i] = list_of(self, depth + 1, p);
    }
    return MP_OBJ_FROM_PTR(list);
}

static mp_obj_t tensor_tolist(mp_obj_t self_in) {
    const kern_tensor_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (self->dtype->typecode == 0) {
        mp_raise_msg_varg(&mp_type_TypeError, MP_ERROR_TEXT("a %s tensor holds blocks: unpack it, or take bytes(tensor)"), self->dtype->name);
    }
    uint8_t *p = self->data;
    return list_of(self, 0, &p);
}
static MP_DEFINE_CONST_FUN_OBJ_1(tensor_tolist_obj, tensor_tolist);

static void tensor_attr(mp_obj_t self_in, qstr attr, mp_obj_t *dest) {
    const kern_tensor_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (dest[0] != MP_OBJ_NULL) {
        return;
    }
    switch (attr) {
        case MP_QSTR_shape:
            dest[0] = tensor_shape(self);
            break;
        case MP_QSTR_dtype:
            dest[0] = mp_obj_new_str_via_qstr(self->dtype->name, strlen(self->dtype->name));
            break;
        case MP_QSTR_nbytes:
            dest[0] = mp_obj_new_int_from_uint(self->nbytes);
            break;
        default:
            dest[1] = MP_OBJ_SENTINEL; // go on with the locals dict
    }
}

static mp_int_t tensor_get_buffer(mp_obj_t self_in, mp_buffer_info_t *bufinfo, mp_uint_t flags) {
    (void)flags;
    kern_tensor_obj_t *self = MP_OBJ_TO_PTR(self_in);
    bufinfo->buf = self->data;
    bufinfo->len = self->nbytes;
    bufinfo->typecode = 'B';
    return 0;
}

// Called by the garbage collector. The block stays until nothing else points into it.
static mp_obj_t tensor_del(mp_obj_t self) {
    (void)self;
    kern_arena_stale();
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(tensor_del_obj, tensor_del);

static const mp_rom_map_elem_t tensor_locals_dict_table[] = {
    { MP_ROM_QSTR(MP_QSTR_tolist), MP_ROM_PTR(&tensor_tolist_obj) },
    { MP_ROM_QSTR(MP_QSTR___del__), MP_ROM_PTR(&tensor_del_obj) },
};
static MP_DEFINE_CONST_DICT(tensor_locals_dict, tensor_locals_dict_table);

MP_DEFINE_CONST_OBJ_TYPE(
    kern_type_Tensor,
    MP_QSTR_Tensor,
    MP_TYPE_FLAG_NONE,
    print, tensor_print,
    attr, tensor_attr,
    buffer, tensor_get_buffer,
    locals_dict, &tensor_locals_dict
    );
