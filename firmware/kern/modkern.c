// Module kern: signed WebAssembly kernels, compiled ahead of time, on tensors in an arena.
#include "modkern.h"

#include <string.h>

#include "arena.h"

extern const mp_obj_module_t kern_module;

static bool ready; // false from a reset to the first import after it

// MicroPython calls this before the heap is swept, so kernels that tidy up and finalisers find the arena as it was. What
// follows, mp_init, lends the memory.
void kern_soft_reset(void) {
    if (ready) {
        engine_deinit();
        ready = false;
    }
}

// Called at every import; after a reset, nothing of the time before is left.
static mp_obj_t kern___init__(void) {
    if (!ready) {
        kern_check_free(); // the deadline's interrupt is the core's that asks for it
        kern_memory_claim();
        engine_init();
        arena_reset();
        kern_pack_reset();
        kern_stats_reset();
        MP_STATE_VM(kern_ops) = MP_OBJ_TO_PTR(mp_obj_new_dict(0));
        ready = true;
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(kern___init___obj, kern___init__);

// The operations of the active pack are attributes.
static mp_obj_t kern___getattr__(mp_obj_t attr) {
    qstr name = mp_obj_str_get_qstr(attr);
    mp_map_t *ops = &MP_STATE_VM(kern_ops)->map;
    mp_map_elem_t *known = mp_map_lookup(ops, attr, MP_MAP_LOOKUP);
    if (known != NULL) {
        return known->value;
    }
    const struct gate_pack *pack = kern_pack_or_null(); // AttributeError in any case: hasattr() and dir() expect it
    for (uint32_t i = 0; pack != NULL && i < pack->image.kernel_count; i++) {
        if (strcmp(image_kernel(&pack->image, i).op, qstr_str(name)) == 0) {
            mp_map_elem_t *added = mp_map_lookup(ops, attr, MP_MAP_LOOKUP_ADD_IF_NOT_FOUND);
            added->value = kern_op_new(name);
            return added->value;
        }
    }
    mp_raise_msg_varg(&mp_type_AttributeError, pack != NULL ? MP_ERROR_TEXT("no operation '%q' in the pack")
        : MP_ERROR_TEXT("no attribute '%q', and no pack is installed"), name);
}
static MP_DEFINE_CONST_FUN_OBJ_1(kern___getattr___obj, kern___getattr__);

static const mp_rom_map_elem_t kern_module_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_kern) },
    { MP_ROM_QSTR(MP_QSTR___init__), MP_ROM_PTR(&kern___init___obj) },
    { MP_ROM_QSTR(MP_QSTR___getattr__), MP_ROM_PTR(&kern___getattr___obj) },
    { MP_ROM_QSTR(MP_QSTR_tensor), MP_ROM_PTR(&kern_tensor_obj) },
    { MP_ROM_QSTR(MP_QSTR_run), MP_ROM_PTR(&kern_run_obj) },
    { MP_ROM_QSTR(MP_QSTR_bind), MP_ROM_PTR(&kern_bind_obj) },
    { MP_ROM_QSTR(MP_QSTR_batch), MP_ROM_PTR(&kern_batch_obj) },
    { MP_ROM_QSTR(MP_QSTR_kernels), MP_ROM_PTR(&kern_kernels_obj) },
    { MP_ROM_QSTR(MP_QSTR_status), MP_ROM_PTR(&kern_status_obj) },
    { MP_ROM_QSTR(MP_QSTR_stats), MP_ROM_PTR(&kern_stats_obj) },
    { MP_ROM_QSTR(MP_QSTR_strict), MP_ROM_PTR(&kern_strict_obj) },
    { MP_ROM_QSTR(MP_QSTR_packs), MP_ROM_PTR(&kern_packs_obj) },
    { MP_ROM_QSTR(MP_QSTR_install), MP_ROM_PTR(&kern_install_obj) },
    { MP_ROM_QSTR(MP_QSTR_installer), MP_ROM_PTR(&kern_installer_obj) },
    { MP_ROM_QSTR(MP_QSTR_confirm), MP_ROM_PTR(&kern_confirm_obj) },
    { MP_ROM_QSTR(MP_QSTR_rollback), MP_ROM_PTR(&kern_rollback_obj) },
    { MP_ROM_QSTR(MP_QSTR_install_keys), MP_ROM_PTR(&kern_install_keys_obj) },
    { MP_ROM_QSTR(MP_QSTR_Tensor), MP_ROM_PTR(&kern_type_Tensor) },
    #define ERROR_ENTRY(constant, name, parent, code, phrase) { MP_ROM_QSTR(MP_QSTR_##name), MP_ROM_PTR(&kern_type_##name) },
    KERN_ERRORS(ERROR_ENTRY)
};
static MP_DEFINE_CONST_DICT(kern_module_globals, kern_module_globals_table);

const mp_obj_module_t kern_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&kern_module_globals,
};
MP_REGISTER_MODULE(MP_QSTR_kern, kern_module);
MP_REGISTER_ROOT_POINTER(mp_obj_dict_t * kern_ops);
