#include "compile.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bh_platform.h"
#include "bh_read_file.h"
#include "console.h"
#include "llvm_checks.h"
#include "loop_checks.h"
#include "native_lib.h"
#include "wasm_export.h"

// The smallest module, magic and version: something to load when only a list is wanted.
static const uint8_t EMPTY_MODULE[] = { 0x00, 'a', 's', 'm', 0x01, 0x00, 0x00, 0x00 };

// The wasm bytes; the loader changes them in place. NULL, with the error printed, when there are none.
static uint8_t *read_module(const char *path, uint32_t *size) {
    if (path == NULL) {
        uint8_t *copy = wasm_runtime_malloc(sizeof(EMPTY_MODULE));
        if (copy != NULL) {
            memcpy(copy, EMPTY_MODULE, sizeof(EMPTY_MODULE));
            *size = sizeof(EMPTY_MODULE);
        }
        return copy;
    }
    if (access(path, R_OK) != 0) {
        console_error("cannot read '%s': %s", path, strerror(errno));
        return NULL;
    }
    uint8_t *bytes = (uint8_t *)bh_read_file_to_buffer(path, size);
    if (bytes == NULL) {
        return NULL;
    }
    if (get_package_type(bytes, *size) != Wasm_Module_Bytecode) {
        console_error("'%s' is not a wasm file: no magic header", path);
        wasm_runtime_free(bytes);
        return NULL;
    }
    return bytes;
}

static bool emit(aot_comp_context_t context, aot_comp_data_t data, const Options *options) {
    switch (options->aot.output_format) {
        case AOT_OBJECT_FILE:
            return aot_emit_object_file(context, options->output);
        case AOT_LLVMIR_UNOPT_FILE:
        case AOT_LLVMIR_OPT_FILE:
            return aot_emit_llvm_file(context, options->output);
        default:
            return aot_emit_aot_file(context, data, options->output);
    }
}

// The library makes the lists while it creates a context, which it then does not deliver.
static bool print_list(aot_comp_data_t data, Options *options) {
    console_begin_list();
    aot_comp_context_t context = aot_create_comp_context(data, &options->aot);
    console_end_list();
    if (context != NULL) {
        aot_destroy_comp_context(context);
    }
    return aot_get_last_error()[0] == '\0';
}

static bool compile_data(aot_comp_data_t data, Options *options) {
    aot_comp_context_t context = aot_create_comp_context(data, &options->aot);
    if (context == NULL) {
        return false;
    }
    bool done = aot_compile_wasm(context) && emit(context, data, options);
    aot_destroy_comp_context(context);
    if (done) {
        printf("Compile success, file %s was generated.\n", options->output);
    }
    return done;
}

static bool compile_module(wasm_module_t module, Options *options) {
    bool done = false;
    aot_comp_data_t data = aot_create_comp_data(module, options->aot.target_arch, options->aot.enable_gc);
    if (data != NULL) {
        done = options->list_wanted ? print_list(data, options) : compile_data(data, options);
        aot_destroy_comp_data(data);
    }
    if (!done) {
        console_error("%s", aot_get_last_error());
    }
    return done;
}

static bool load_and_compile(Options *options) {
    for (unsigned i = 0; i < options->native_lib_count; i++) {
        if (!native_lib_register(options->native_libs[i])) {
            return false;
        }
    }
    if (!llvm_parse_options((int)options->llvm_option_count, options->llvm_options)) {
        return false;
    }
    AOTCompOption *aot = &options->aot;
    if (!options->list_wanted && !llvm_check_cpu(aot->target_arch, aot->target_cpu, aot->cpu_features)) {
        return false;
    }
    if (options->hoist_bounds_checks) {
        loop_checks_hoist();
    }
    uint32_t size = 0;
    uint8_t *bytes = read_module(options->input, &size);
    if (bytes == NULL) {
        return false;
    }
    char error[128];
    wasm_module_t module = wasm_runtime_load(bytes, size, error, sizeof(error));
    bool done = false;
    if (module == NULL) {
        console_error("%s", error);
    } else {
        done = compile_module(module, options);
        wasm_runtime_unload(module);
    }
    wasm_runtime_free(bytes);
    return done;
}

bool compile(Options *options) {
    RuntimeInitArgs runtime = {
        .mem_alloc_type = Alloc_With_System_Allocator,
        .enable_linux_perf = options->linux_perf,
    };
    if (!wasm_runtime_full_init(&runtime)) {
        console_error("the runtime cannot be initialised");
        return false;
    }
    bh_log_set_verbose_level((uint32_t)options->log_level);
    bool done = load_and_compile(options);
    wasm_runtime_destroy();
    return done;
}
