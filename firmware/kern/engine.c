// Calling kernels: which instances there are, their lifecycle, and the limits they run under.
#include "engine.h"

#include <stdio.h>
#include <string.h>

#include "aot_runtime.h"
#include "bh_platform.h"
#include "wasm_export.h"

#include "arena.h"
#include "descriptor.h"
#include "errors.h"
#include "guard.h"
#include "instance.h"
#include "kern_natives.h" // generated: KERN_NATIVES
#include "version.h"      // WAMR's

#define TICK_US (10000)

// Where offsets count from in references compiled from the kernels' sources (kernel_abi.h).
uint8_t *kernel_native_base = ARENA_BASE;

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

// ---- entering a kernel ----

// Call a function of three words, or of fewer. Nothing is set that guard_run sets: a memset costs more than the rest.
static int run(void *entry, uint32_t a, uint32_t b, uint32_t c, uint32_t max_ticks, struct engine_result *result) {
    const uint32_t most = KERN_DEADLINE_MS * 1000 / TICK_US;
    struct guard_call call;
    call.entry = entry;
    call.arg[0] = a;
    call.arg[1] = b;
    call.arg[2] = c;
    call.result = 0;
    int code = guard_run(&call, (max_ticks < most ? max_ticks : most) * TICK_US);
    *result = (struct engine_result) { .cycles = call.cycles, .pc = call.pc, .returned = (int32_t)call.result };
    return code == KERN_OK && call.result != 0 ? KERN_KERNEL_TRAP : code;
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
    struct engine_result ignored;
    instance_page_in(instance);
    (void)run(instance->cleanup, (uint32_t)instance->env, 0, 0, instance->max_ticks, &ignored);
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
    struct engine_result result;
    uint32_t size = descriptor_write_defaults(kernel);
    int code = run(instance->init, (uint32_t)instance->env, size != 0 ? DESCRIPTOR_DEFAULTS : 0, size, kernel->max_ticks, &result);
    if (code == KERN_KERNEL_TRAP) {
        snprintf(instance_message, sizeof(instance_message), "kernel_init returned %ld", (long)result.returned);
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

int engine_call(const struct gate_pack *pack, uint32_t index, uint32_t descriptor, struct engine_result *result) {
    bool known = pack->verified && index < pack->image.kernel_count;
    struct instance *instance = known ? find(pack, index) : NULL;
    if (instance == NULL) {
        *result = (struct engine_result) { 0 };
        return known ? KERN_LOAD_ERROR : KERN_NO_SUCH_KERNEL;
    }
    instance_page_in(instance);
    int code = run(instance->entry, (uint32_t)instance->env, descriptor, 0, instance->max_ticks, result);
    if (code != KERN_OK) {
        unload(instance);
    }
    return code;
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
    instance_page_out();
    return run(native->entry, descriptor, 0, 0, max_ticks, result);
}
