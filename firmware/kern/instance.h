// A module of the pack in WAMR: loaded, checked, instantiated over the arena. Runs nothing of it; the engine does.
// It is AOT code, or bytecode in a debug build.
#ifndef KERN_INSTANCE_H
#define KERN_INSTANCE_H

#include "gate.h"
#include "wasm_export.h"

#define INSTANCE_NO_FUNCTION (UINT32_MAX)

struct instance {
    struct instance *next; // most recently used first
    const struct gate_pack *pack;
    uint32_t index; // of the kernel in the pack
    uint32_t ticket; // its own, not 0, never given again
    uint32_t deadline_us; // of a call: its kernel's limit, or the board's if that is less
    wasm_module_t module;
    wasm_module_inst_t inst;
    wasm_exec_env_t env;
    void *entry, *init, *cleanup;
    uint32_t data_start, data_size; // part of the private page that must survive
    uint8_t *saved;
    struct interpreted *interpreted; // NULL for AOT code
};

// The instance whose data is in the private page, or NULL.
extern struct instance *instance_resident;

// A constant in a release build, which has no interpreted.c.
static inline bool instance_is_interpreted(const struct instance *instance) {
    return KERN_INTERPRETER && instance->interpreted != NULL;
}

// What was wrong at the last failure.
extern char instance_message[112];

// Set that message; false, for the caller to return.
bool instance_fail(const char *what);

// A new instance of kernel `index`, whose private page is the resident one, or NULL when the module is refused or the pool is full.
struct instance *instance_load(const struct gate_pack *pack, uint32_t index, const struct image_kernel *kernel);
void instance_destroy(struct instance *instance);

// Index of the wasm function whose code is at `pc`, or INSTANCE_NO_FUNCTION.
uint32_t instance_function_at(const struct instance *instance, uintptr_t pc);

// Microseconds that AOT code or a native reference gets for a call.
uint32_t instance_deadline(uint32_t max_ticks);

// Put that instance's data into the private page, and before that the resident one's back where it is kept.
void instance_page_in(struct instance *instance);
void instance_page_out(void);

#endif
