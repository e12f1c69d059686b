// What the parts of module kern that deal with MicroPython objects share.
#ifndef KERN_MODKERN_H
#define KERN_MODKERN_H

#include "py/obj.h"
#include "py/runtime.h"

#include "engine.h"
#include "errors.h"
#include "layout.h"
#include "store.h"

// ---- modkern.c ----

void kern_soft_reset(void);

// Keep another core from allocating: what py/gc.c does, where threads share no lock of the interpreter's.
#if MICROPY_PY_THREAD && !MICROPY_PY_THREAD_GIL
#define KERN_HEAP_LOCK() mp_thread_recursive_mutex_lock(&MP_STATE_MEM(gc_mutex), 1)
#define KERN_HEAP_UNLOCK() mp_thread_recursive_mutex_unlock(&MP_STATE_MEM(gc_mutex))
#else
#define KERN_HEAP_LOCK()
#define KERN_HEAP_UNLOCK()
#endif

// ---- claim.c, memory_esp32.c ----

// Give the memory of kernels to others, and take it back. Raises MemoryError when it is in use.
void kern_memory_lend(void);
void kern_memory_claim(void);

// ---- errors.c ----

#define KERN_DECLARE_EXCEPTION(constant, name, parent, code, phrase) extern const mp_obj_type_t kern_type_##name;
KERN_ERRORS(KERN_DECLARE_EXCEPTION)
#undef KERN_DECLARE_EXCEPTION

const mp_obj_type_t *kern_error_type(int error);

// The name of its class, a str.
mp_obj_t kern_error_name(int error);

// Raise the exception of that error with its phrase, unless it is KERN_OK.
void kern_check(int error);

// Raise the exception of that error, with a message.
NORETURN void kern_raise(int error, mp_rom_error_text_t format, ...);

// The error to show for a call's: for a kernel that returned a code with a meaning, that code.
int kern_error_of(int error, const struct engine_result *result);

#define KERN_NO_POSITION (-1)

// Raise what a call of that kernel ended with. `position`: of the call in a batch. A KernelTrap has the arguments (message, code).
NORETURN void kern_raise_fault(int position, const char *kernel, int error, const struct engine_result *result);

// ---- tensor.c ----

#define KERN_MAX_RANK (8)

typedef struct _kern_tensor_obj_t {
    mp_obj_base_t base;
    uint8_t *data; // in the arena; an address, so that the block is known to be in use
    uint32_t nbytes;
    const struct layout_dtype *dtype;
    uint32_t rank;
    uint32_t dims[];
} kern_tensor_obj_t;

extern const mp_obj_type_t kern_type_Tensor;

// A tensor with undefined contents. Raises ValueError and MemoryError.
kern_tensor_obj_t *kern_tensor_new(const struct layout_dtype *dtype, const uint32_t *dims, uint32_t rank);

// Free it and its block now instead of when they are collected. Precondition: no Python code has seen it.
void kern_tensor_free(kern_tensor_obj_t *tensor);

// Dims of nested lists or tuples, found from their first elements. Raises ValueError beyond KERN_MAX_RANK.
uint32_t kern_nested_dims(mp_obj_t nested, uint32_t dims[KERN_MAX_RANK]);

// Copy `data`, a buffer of `nbytes` bytes, nested lists of these dims or one list of all elements, to `p`. `name` is for messages.
// Raises TypeError and ValueError.
void kern_fill(uint8_t *p, uint32_t nbytes, const struct layout_dtype *dtype, const uint32_t *dims, uint32_t rank, mp_obj_t data, const char *name);

MP_DECLARE_CONST_FUN_OBJ_KW(kern_tensor_obj);

// ---- collect.c ----

// A block of the arena, contents undefined; collects garbage when there is no room. It stays while something in the heap has its
// address. Raises MemoryError, and RuntimeError while kern_check_free does.
void *kern_arena_alloc(uint32_t size);

// Collect MicroPython's garbage, then the arena's.
void kern_arena_collect(void);

// A Tensor has been collected: the next kern_arena_alloc looks what is free.
void kern_arena_stale(void);

// Garbage does not count as used unless the heap still has it. Raises as kern_check_free does.
uint32_t kern_arena_free_bytes(void);

// ---- pack.c ----

// The active pack, verified before its first use after each reset. Raises NoPack, or why it was refused.
const struct gate_pack *kern_active_pack(void);
const struct gate_pack *kern_pack_or_null(void);

// Counts installations: what was looked up in a pack holds as long as this stays the same.
uint32_t kern_pack_generation(void);

// Forget what was verified, so that the next use verifies again.
void kern_pack_reset(void);

// Index of the kernel with that id. Raises NoSuchKernel.
uint32_t kern_find_kernel(const struct gate_pack *pack, const char *id);

// The dict of status()['pack'], or None.
mp_obj_t kern_pack_dict(void);

MP_DECLARE_CONST_FUN_OBJ_0(kern_packs_obj);

// For what changes the store.
struct store *kern_store(void);

// Verify what lies in the slot, anew. Raises why it was refused.
const struct gate_pack *kern_pack_verify(uint32_t slot, uint32_t size);

// Unload what was verified in the slot: its bytes may change.
void kern_pack_forget(uint32_t slot);

// Another pack is active: kernels start anew, and what was bound is bound no longer.
void kern_pack_changed(void);

// ---- install.c ----

// A change of the store begins: one at a time. It ends with nlr_pop_jump_callback(true), or an exception. Raises RuntimeError.
void kern_change_begin(nlr_jump_callback_node_t *node);

// open(path, 'rb')
mp_obj_t kern_open(mp_obj_t path);

void kern_install_reset(void);

// Give up the previous pack if its time is over. Writes to flash, so not for calls.
void kern_release_expired(void);

MP_DECLARE_CONST_FUN_OBJ_0(kern_installer_obj);
MP_DECLARE_CONST_FUN_OBJ_KW(kern_install_obj);
MP_DECLARE_CONST_FUN_OBJ_0(kern_confirm_obj);
MP_DECLARE_CONST_FUN_OBJ_0(kern_rollback_obj);

// ---- trust.c ----

const struct trusted *kern_trusted(void);

// Find out anew whom to trust, from the firmware and the store.
void kern_trust_reset(void);

// The dict of status()['keys'].
mp_obj_t kern_keys_dict(void);

MP_DECLARE_CONST_FUN_OBJ_1(kern_install_keys_obj);

// ---- status.c ----

extern uint32_t kern_calls; // since the last reset

// Count what a call ended with.
void kern_stats_fault(const char *kernel, int error, const struct engine_result *result);
void kern_stats_degraded(const char *kernel); // the last fault was made up for by a reference
void kern_stats_reset(void);

// Whether kern.strict(True) turned fallbacks off.
bool kern_is_strict(void);

mp_obj_t kern_hex(const uint8_t *bytes, size_t size);

// dict[key] = value
void kern_put(mp_obj_t dict, qstr key, mp_obj_t value);

MP_DECLARE_CONST_FUN_OBJ_0(kern_status_obj);
MP_DECLARE_CONST_FUN_OBJ_0(kern_stats_obj);
MP_DECLARE_CONST_FUN_OBJ_VAR_BETWEEN(kern_strict_obj);
MP_DECLARE_CONST_FUN_OBJ_VAR_BETWEEN(kern_kernels_obj);

// ---- run.c ----

// Raise RuntimeError in an interrupt handler, and on the other core.
void kern_check_free(void);

extern const mp_obj_type_t kern_type_Bound;
extern const mp_obj_type_t kern_type_Op;

mp_obj_t kern_op_new(qstr name);

MP_DECLARE_CONST_FUN_OBJ_KW(kern_run_obj);
MP_DECLARE_CONST_FUN_OBJ_KW(kern_bind_obj);
MP_DECLARE_CONST_FUN_OBJ_1(kern_batch_obj);

#endif
