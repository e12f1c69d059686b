// Calling kernels: which instances there are, their lifecycle, and the limits they run under.
#include "engine.h"

#include <stdio.h>
#include <string.h>

#include "bh_platform.h"
#include "wasm_export.h"

#include "arena.h"
#include "descriptor.h"
#include "errors.h"
#include "guard.h"
#include "instance.h"
#include "kern_natives.h" // generated: KERN_NATIVES
#include "version.h"      // WAMR's

// Where offsets count from in references compiled from the kernels' sources (kernel_abi.h).
uint8_t *kernel_native_base;

static struct instance *instances;

const char *engine_message(void) {
    return instance_message;
}

uint32_t engine_aot_version(void) {
    return AOT_CURRENT_VERSION;
}

const char *engine_wamr_version(void) {
    #define TEXT(number) #number
    #define VERSION(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)
    return VERSION(WAMR_VERSION_MAJOR, WAMR_VERSION_MINOR, WAMR_VERSION_PATCH);
    #undef VERSION
    #undef TEXT
}

void engine_init(void) {
    RuntimeInitArgs args = {
        .mem_alloc_type = Alloc_With_Pool,
        .mem_alloc_option.pool = { .heap_buf = (void *)KERN_POOL_ADDRESS, .heap_size = KERN_POOL_SIZE },
    };
    static bool guarded;
    kernel_native_base = ARENA_BASE;
    if (!guarded) {
        guard_init();
        guarded = true;
    }
    // Fails only for a pool that is too small for WAMR's own tables, which the build's tests would have shown.
    (void)wasm_runtime_full_init(&args);
}

void engine_deinit(void) {
    engine_unload(NULL);
    wasm_runtime_destroy();
}

void engine_pool(uint32_t *size, uint32_t *free) {
    mem_alloc_info_t info = { 0 };
    (void)wasm_runtime_get_mem_alloc_info(&info);
    *size = info.total_size;
    *free = info.total_free_size;
}

// ---- instances ----

static void unload(struct instance *instance) {
    struct instance **link = &instances;
    while (*link != instance) {
        link = &(*link)->next;
    }
    *link = instance->next;
    instance_destroy(instance);
}

// Unload an instance in which nothing went wrong: the kernel may tidy up first. How that ends makes no difference.
static void retire(struct instance *instance) {
    struct guard_call call = {
        .deadline_us = instance->deadline_us, .arg = { (uintptr_t)instance->env }, .entry = instance->cleanup,
    };
    struct guard_end ignored;
    instance_page_in(instance);
    (void)guard_run_one(&call, &ignored);
    unload(instance);
}

void engine_unload(const struct gate_pack *pack) {
    for (struct instance *instance = instances, *next; instance != NULL; instance = next) {
        next = instance->next;
        if (pack == NULL || instance->pack == pack) {
            retire(instance);
        }
    }
}

static bool unload_least_used(void) {
    struct instance *last = instances;
    while (last != NULL && last->next != NULL) {
        last = last->next;
    }
    if (last != NULL) {
        retire(last);
    }
    return last != NULL;
}

// Give the kernel its parameters' defaults; it says whether it is ready.
static bool init(struct instance *instance, const struct image_kernel *kernel) {
    uint32_t size = descriptor_write_defaults(kernel);
    struct guard_call call = {
        .deadline_us = instance->deadline_us,
        .arg = { (uintptr_t)instance->env, size != 0 ? DESCRIPTOR_DEFAULTS : 0, size },
        .entry = instance->init,
    };
    struct guard_end end;
    int code = guard_run_one(&call, &end);
    if (code == KERN_KERNEL_TRAP) {
        snprintf(instance_message, sizeof(instance_message), "kernel_init returned %ld", (long)end.returned);
    } else if (code != KERN_OK) {
        snprintf(instance_message, sizeof(instance_message), "kernel_init: %s", kern_error_phrase(code));
    }
    return code == KERN_OK;
}

static struct instance *load_once(const struct gate_pack *pack, uint32_t index) {
    struct image_kernel kernel = image_kernel(&pack->image, index);
    struct instance *instance = instance_load(pack, index, &kernel);
    if (instance != NULL && !init(instance, &kernel)) {
        instance_destroy(instance);
        return NULL;
    }
    if (instance != NULL) {
        instance->next = instances;
        instances = instance;
    }
    return instance;
}

// WAMR says so only in its message.
static bool pool_was_full(void) {
    const char *at = instance_message;
    while (*at != 0 && strncmp(at, "allocate", 8) != 0) {
        at++;
    }
    return *at != 0;
}

// Seldom called: kept apart from a call, which is to be quick.
static __attribute__((noinline)) struct instance *load(const struct gate_pack *pack, uint32_t index) {
    struct instance *instance;
    do {
        instance_message[0] = 0;
        instance = load_once(pack, index);
    } while (instance == NULL && pool_was_full() && unload_least_used());
    return instance;
}

static struct instance *find(const struct gate_pack *pack, uint32_t index) {
    for (struct instance **link = &instances; *link != NULL; link = &(*link)->next) {
        struct instance *instance = *link;
        if (instance->index == index && instance->pack == pack) {
            *link = instance->next;
            instance->next = instances;
            instances = instance;
            return instance;
        }
    }
    return load(pack, index);
}

// ---- calls ----

// The result of a call that did not begin.
static void clear(struct engine_result *result) {
    *result = (struct engine_result) { .end.address = GUARD_NO_ADDRESS, .function = ENGINE_NO_FUNCTION };
}

int engine_prepare(struct guard_call *call, const struct gate_pack *pack, uint32_t index, uint32_t descriptor, struct engine_result *result) {
    clear(result);
    if (!pack->verified || index >= pack->image.kernel_count) {
        return KERN_NO_SUCH_KERNEL;
    }
    struct instance *instance = find(pack, index);
    if (instance == NULL) {
        return KERN_LOAD_ERROR;
    }
    instance_page_in(instance);
    call->ticket = instance->ticket;
    call->deadline_us = instance->deadline_us;
    call->arg[0] = (uintptr_t)instance->env;
    call->arg[1] = descriptor;
    call->entry = instance->entry;
    return KERN_OK;
}

// From the processor's address to linear memory's.
static void find_address(struct engine_result *result) {
    uintptr_t offset = result->end.address - KERN_ARENA_ADDRESS;
    result->end.address = offset < KERN_ARENA_SIZE ? offset : GUARD_NO_ADDRESS;
}

int engine_ended(int code, struct engine_result *result) {
    if (code != GUARD_NOT_READY && code != GUARD_BUSY) {
        find_address(result);
        result->function = instance_function_at(instance_resident, result->end.pc);
        unload(instance_resident);
    }
    return code;
}

int engine_call(const struct gate_pack *pack, uint32_t index, uint32_t descriptor, struct engine_result *result) {
    struct guard_call call = { 0 };
    const struct guard_call *calls = &call;
    int code = engine_prepare(&call, pack, index, descriptor, result);
    return code == KERN_OK ? engine_run(&calls, 1, call.kind, result) : code;
}

const struct engine_native *engine_find_native(const char *id) {
    static const struct engine_native natives[] = {
        KERN_NATIVES
        { NULL, NULL },
    };
    const struct engine_native *native = natives;
    while (native->id != NULL && strcmp(native->id, id) != 0) {
        native++;
    }
    return native->id != NULL ? native : NULL;
}

int engine_call_native(const struct engine_native *native, uint32_t max_ticks, uint32_t descriptor, struct engine_result *result) {
    struct guard_call call = { .deadline_us = instance_deadline(max_ticks), .arg = { descriptor }, .entry = native->entry };
    instance_page_out();
    clear(result);
    int code = guard_run_one(&call, &result->end);
    if (code != KERN_OK) {
        find_address(result);
    }
    return code;
}
