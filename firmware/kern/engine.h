// Runs kernels of a verified pack with WAMR, and the firmware's own reference implementations of them.
// Knows nothing of MicroPython. Modules are loaded when first called and stay until the pool is needed for others.
#ifndef KERN_ENGINE_H
#define KERN_ENGINE_H

#include <stddef.h>

#include "gate.h"
#include "guard.h"

#define ENGINE_NO_FUNCTION (UINT32_MAX) // as INSTANCE_NO_FUNCTION
#define ENGINE_NEVER_READY (UINT32_MAX) // a ticket

struct engine_result {
    struct guard_end end; // its address is an offset in linear memory
    uint32_t function; // index of the wasm function that the call was ended in, or ENGINE_NO_FUNCTION
};

// A kernel compiled into the firmware: trusted code, the same source as the pack's kernel.
struct engine_native {
    const char *id;
    uint32_t (*entry)(uint32_t descriptor);
};

void engine_init(void);   // before anything else
void engine_deinit(void); // unloads every module; then nothing of the runtime is left in the pool
void engine_unload(const struct gate_pack *pack); // every module of that pack, or of any when NULL, each after its kernel_cleanup

uint32_t engine_aot_version(void);
const char *engine_wamr_version(void); // such as 2.4.3

// Make a call ready: kernel `index` of `pack` with the descriptor at that offset of the arena. The caller sets its kind. It stays ready
// until another instance is called or this one is unloaded. KERN_OK, or an error; `result` is then that of a call that did not begin.
int engine_prepare(struct guard_call *call, const struct gate_pack *pack, uint32_t index, uint32_t descriptor, struct engine_result *result)
    __attribute__((warn_unused_result));

// Clean up after a call of the instance in place that ended badly. Returns `code`.
int engine_ended(int code, struct engine_result *result);

// guard_run of calls that engine_prepare made ready. After an error, KERN_KERNEL_TRAP among them, the kernel's state is that of a new
// instance.
static inline int engine_run(const struct guard_call *const *calls, uint32_t count, const void *kind, struct engine_result *result) {
    int code = guard_run(calls, count, kind, &result->end);
    return code == KERN_OK ? code : engine_ended(code, result);
}

// Both, for one call.
int engine_call(const struct gate_pack *pack, uint32_t index, uint32_t descriptor, struct engine_result *result)
    __attribute__((warn_unused_result));

// The reference of that id, or NULL.
const struct engine_native *engine_find_native(const char *id);

// engine_call of a reference, which has no limit but the deadline.
int engine_call_native(const struct engine_native *native, uint32_t max_ticks, uint32_t descriptor, struct engine_result *result)
    __attribute__((warn_unused_result));

// What was wrong at the last KERN_LOAD_ERROR.
const char *engine_message(void);

void engine_pool(uint32_t *size, uint32_t *free);

#endif
