// Runs kernels of a verified pack with WAMR, and the firmware's own reference implementations of them.
// Knows nothing of MicroPython. Modules are loaded when first called and stay until the pool is needed for others.
#ifndef KERN_ENGINE_H
#define KERN_ENGINE_H

#include <stddef.h>

#include "gate.h"

struct engine_result {
    uint32_t cycles;  // of the call, see guard.h
    uint32_t pc;      // where a fault, a trap or the deadline ended it
    int32_t returned; // the kernel's own code
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

// Call kernel `index` of `pack` with the descriptor at that offset of the arena. KERN_OK or an error, KERN_KERNEL_TRAP for a kernel
// that returned a code other than 0; after an error the kernel's state is that of a new instance.
int engine_call(const struct gate_pack *pack, uint32_t index, uint32_t descriptor, struct engine_result *result)
    __attribute__((warn_unused_result));

// The reference of that id, or NULL.
const struct engine_native *engine_find_native(const char *id);

// The same for a reference, which has no limit but the deadline.
int engine_call_native(const struct engine_native *native, uint32_t max_ticks, uint32_t descriptor, struct engine_result *result)
    __attribute__((warn_unused_result));

// What was wrong at the last KERN_LOAD_ERROR.
const char *engine_message(void);

void engine_pool(uint32_t *size, uint32_t *free);

#endif
