#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llvm-c/Core.h>

#include "console.h"
#include "wasm_export.h"

typedef struct Option Option;

// Put value (NULL when there is none) into options; false, with the error printed, when it makes no sense.
typedef bool (*Apply)(const Option *option, char *value, Options *options);

typedef enum { NO_VALUE, VALUE, OPTIONAL_VALUE, EMPTY_VALUE_TOO } Takes;

struct Option {
    const char *name;
    Takes takes;
    Apply apply;
    size_t field;  // offset in Options, for the plain setters
    const char *metavar;
    const char *help;  // NULL: accepted, but not worth mentioning
};

typedef struct {
    const char *name;
    unsigned value;
} Keyword;

#define AOT(member) offsetof(Options, aot.member)
#define HELP_COLUMN 38
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void *field_of(Options *options, const Option *option) {
    return (char *)options + option->field;
}

static bool find_keyword(const Option *option, const char *word, const Keyword *keywords, size_t count,
                         unsigned *value) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(word, keywords[i].name) == 0) {
            *value = keywords[i].value;
            return true;
        }
    }
    console_error("%s does not know '%s'", option->name, word);
    return false;
}

// A number from 0 to maximum; a larger one is an error, or means maximum where clamp says so.
static bool parse_number(const Option *option, const char *text, long maximum, bool clamp, long *number) {
    char *end;
    *number = strtol(text, &end, 10);
    if (end == text || *end != '\0' || *number < 0 || (*number > maximum && !clamp)) {
        console_error("%s takes a number from 0 to %ld, not '%s'", option->name, maximum, text);
        return false;
    }
    *number = *number > maximum ? maximum : *number;
    return true;
}

// ---- setters

static bool set_true(const Option *option, char *value, Options *options) {
    (void)value;
    *(bool *)field_of(options, option) = true;
    return true;
}

static bool set_false(const Option *option, char *value, Options *options) {
    (void)value;
    *(bool *)field_of(options, option) = false;
    return true;
}

static bool set_string(const Option *option, char *value, Options *options) {
    *(char **)field_of(options, option) = value;
    if (strcmp(value, option->field == AOT(cpu_features) ? "+help" : "help") == 0) {
        options->list_wanted = option->field == AOT(target_arch) || option->field == AOT(target_abi)
                               || option->field == AOT(target_cpu) || option->field == AOT(cpu_features);
    }
    return true;
}

// The official wamrc takes levels above 3 for 3.
static bool set_level(const Option *option, char *value, Options *options) {
    long level;
    if (!parse_number(option, value, 3, true, &level)) {
        return false;
    }
    *(uint32_t *)field_of(options, option) = (uint32_t)level;
    if (option->field == AOT(size_level)) {
        options->size_level_set = true;
    }
    return true;
}

static bool set_check(const Option *option, char *value, Options *options) {
    long on;
    if (!parse_number(option, value, 1, false, &on)) {
        return false;
    }
    *(uint32_t *)field_of(options, option) = (uint32_t)on;
    return true;
}

static bool set_log_level(const Option *option, char *value, Options *options) {
    long level;
    if (!parse_number(option, value, 5, false, &level)) {
        return false;
    }
    options->log_level = (int)level;
    return true;
}

static bool set_format(const Option *option, char *value, Options *options) {
    static const Keyword formats[] = {
        { "aot", AOT_FORMAT_FILE },
        { "object", AOT_OBJECT_FILE },
        { "llvmir-unopt", AOT_LLVMIR_UNOPT_FILE },
        { "llvmir-opt", AOT_LLVMIR_OPT_FILE },
    };
    return find_keyword(option, value, formats, COUNT(formats), &options->aot.output_format);
}

static bool set_call_stack_features(const Option *option, char *value, Options *options) {
    AOTCallStackFeatures *features = &options->aot.call_stack_features;
    const Keyword names[] = {
        { "bounds-checks", offsetof(AOTCallStackFeatures, bounds_checks) },
        { "ip", offsetof(AOTCallStackFeatures, ip) },
        { "func-idx", offsetof(AOTCallStackFeatures, func_idx) },
        { "trap-ip", offsetof(AOTCallStackFeatures, trap_ip) },
        { "values", offsetof(AOTCallStackFeatures, values) },
    };
    memset(features, 0, sizeof(*features));
    for (char *word = strtok(value, ","); word != NULL; word = strtok(NULL, ",")) {
        unsigned offset;
        if (!find_keyword(option, word, names, COUNT(names), &offset)) {
            return false;
        }
        *((bool *)features + offset) = true;
    }
    return true;
}

static bool set_segue(const Option *option, char *value, Options *options) {
    static const Keyword flags[] = {
        { "i32.load", 1 << 0 },  { "i64.load", 1 << 1 },  { "f32.load", 1 << 2 },   { "f64.load", 1 << 3 },
        { "v128.load", 1 << 4 }, { "i32.store", 1 << 8 }, { "i64.store", 1 << 9 },  { "f32.store", 1 << 10 },
        { "f64.store", 1 << 11 }, { "v128.store", 1 << 12 },
    };
    options->aot.segue_flags = 0;
    if (value == NULL) {
        for (size_t i = 0; i < COUNT(flags); i++) {
            options->aot.segue_flags |= flags[i].value;
        }
        return true;
    }
    for (char *word = strtok(value, ","); word != NULL; word = strtok(NULL, ",")) {
        unsigned flag;
        if (!find_keyword(option, word, flags, COUNT(flags), &flag)) {
            return false;
        }
        options->aot.segue_flags |= flag;
    }
    return true;
}

// A backslash in a section's name stands for a space.
static bool set_custom_sections(const Option *option, char *value, Options *options) {
    unsigned count = 0;
    for (char *word = strtok(value, ","); word != NULL; word = strtok(NULL, ",")) {
        if (count == MAX_CUSTOM_SECTIONS) {
            console_error("%s takes at most %d names", option->name, MAX_CUSTOM_SECTIONS);
            return false;
        }
        for (char *c = word; *c != '\0'; c++) {
            *c = *c == '\\' ? ' ' : *c;
        }
        options->custom_sections[count++] = word;
    }
    options->aot.custom_sections = options->custom_sections;
    options->aot.custom_sections_count = count;
    return true;
}

static bool add_native_lib(const Option *option, char *value, Options *options) {
    if (options->native_lib_count == MAX_NATIVE_LIBS) {
        console_error("%s can be given at most %d times", option->name, MAX_NATIVE_LIBS);
        return false;
    }
    options->native_libs[options->native_lib_count++] = value;
    return true;
}

static bool add_llvm_option(const Option *option, char *value, Options *options) {
    if (options->llvm_option_count > MAX_LLVM_OPTIONS) {
        console_error("%s can be given at most %d times", option->name, MAX_LLVM_OPTIONS);
        return false;
    }
    options->llvm_options[options->llvm_option_count++] = value;
    return true;
}

static bool set_multi_thread(const Option *option, char *value, Options *options) {
    (void)option, (void)value;
    options->aot.enable_bulk_memory = true;
    options->aot.enable_thread_mgr = true;
    return true;
}

static bool set_dump_call_stack(const Option *option, char *value, Options *options) {
    (void)option, (void)value;
    options->aot.aux_stack_frame_type = AOT_STACK_FRAME_TYPE_STANDARD;
    return true;
}

static bool set_perf_profiling(const Option *option, char *value, Options *options) {
    options->aot.enable_perf_profiling = true;
    return set_dump_call_stack(option, value, options);
}

static bool set_memory_profiling(const Option *option, char *value, Options *options) {
    (void)option, (void)value;
    options->aot.enable_memory_profiling = true;
    options->aot.enable_stack_estimation = true;
    return true;
}

static bool set_gc(const Option *option, char *value, Options *options) {
    options->aot.enable_gc = true;
    return set_dump_call_stack(option, value, options);
}

static bool set_xip(const Option *option, char *value, Options *options) {
    (void)option, (void)value;
    options->aot.is_indirect_mode = true;
    options->aot.disable_llvm_intrinsics = true;
    return true;
}

// ---- the table, in the order of --help

static const Option OPTIONS[] = {
    { "--target", VALUE, set_string, AOT(target_arch), "<arch>",
      "target: <arch><sub>, e.g. x86_64, thumbv6m, riscv32, xtensa, or a triple\n"
      "<arch>-<vendor>-<os>-<abi>; default: this machine's; =help lists them" },
    { "--target-abi", VALUE, set_string, AOT(target_abi), "<abi>",
      "ABI, e.g. gnu, eabi, gnueabihf; default gnu, for riscv64 and riscv32\n"
      "lp64d and ilp32d; =help lists them" },
    { "--cpu", VALUE, set_string, AOT(target_cpu), "<cpu>",
      "CPU; default: this machine's; =help lists those of the target" },
    { "--cpu-features", VALUE, set_string, AOT(cpu_features), "<features>",
      "+feature to add, -feature to remove one, separated by commas;\n"
      "=+help lists those of the target" },
    { "--opt-level", VALUE, set_level, AOT(opt_level), "<n>", "optimisation, 0 to 3; default 3" },
    { "--size-level", VALUE, set_level, AOT(size_level), "<n>",
      "code model: 0 large, 1 medium, 2 kernel, 3 small; default 3" },
    { "-sgx", NO_VALUE, set_true, AOT(is_sgx_platform), NULL, "code for Intel SGX enclaves" },
    { "--bounds-checks", VALUE, set_check, AOT(bounds_checks), "<0|1>",
      "check memory accesses in software; default 1 on 32-bit targets, with SGX\n"
      "and with memory64, else 0. Code built with 0 needs a runtime whose\n"
      "memory is guarded by hardware" },
    { "--stack-bounds-checks", VALUE, set_check, AOT(stack_bounds_checks), "<0|1>",
      "check the native stack; default: as --bounds-checks" },
    { "--stack-usage", VALUE, set_string, AOT(stack_usage_file), "<file>",
      "write a stack-usage file, as clang's -fstack-usage does" },
    { "--format", VALUE, set_format, 0, "<format>",
      "aot (default), object, llvmir-unopt or llvmir-opt" },
    { "--disable-bulk-memory", NO_VALUE, set_false, AOT(enable_bulk_memory), NULL, "no bulk memory" },
    { "--enable-bulk-memory-opt", NO_VALUE, set_true, AOT(enable_bulk_memory_opt), NULL,
      "of bulk memory, memory.copy and memory.fill only" },
    { "--enable-multi-thread", NO_VALUE, set_multi_thread, 0, NULL,
      "threads, with bulk memory and the thread manager" },
    { "--enable-tail-call", NO_VALUE, set_true, AOT(enable_tail_call), NULL, "tail calls" },
    { "--enable-simd", NO_VALUE, set_true, AOT(enable_simd), NULL, NULL },
    { "--disable-simd", NO_VALUE, set_false, AOT(enable_simd), NULL,
      "no 128-bit SIMD; only x86-64 and aarch64 have it" },
    { "--disable-ref-types", NO_VALUE, set_false, AOT(enable_ref_types), NULL,
      "no reference types; --enable-gc implies it" },
    { "--enable-call-indirect-overlong", NO_VALUE, set_true, AOT(enable_call_indirect_overlong), NULL,
      "of reference types, the long encoding of call_indirect only" },
    { "--disable-aux-stack-check", NO_VALUE, set_false, AOT(enable_aux_stack_check), NULL,
      "no check of the stack in linear memory" },
    { "--enable-extended-const", NO_VALUE, set_true, AOT(enable_extended_const), NULL,
      "extended constant expressions" },
    { "--enable-lime1", NO_VALUE, set_true, AOT(enable_lime1), NULL,
      "the Lime1 set: bulk-memory-opt, call-indirect-overlong, extended-const" },
    { "--enable-dump-call-stack", NO_VALUE, set_dump_call_stack, 0, NULL, "stack traces" },
    { "--call-stack-features", EMPTY_VALUE_TOO, set_call_stack_features, 0, "<features>",
      "what stack traces need: bounds-checks, ip, func-idx, trap-ip, values,\n"
      "separated by commas; default: all; empty: none" },
    { "--enable-perf-profiling", NO_VALUE, set_perf_profiling, 0, NULL, "count and time functions" },
    { "--enable-memory-profiling", NO_VALUE, set_memory_profiling, 0, NULL, "measure memory use" },
    { "--xip", NO_VALUE, set_xip, 0, NULL,
      "execution in place: --enable-indirect-mode --disable-llvm-intrinsics" },
    { "--enable-indirect-mode", NO_VALUE, set_true, AOT(is_indirect_mode), NULL,
      "call functions through a table of symbols" },
    { "--enable-gc", NO_VALUE, set_gc, 0, NULL, "garbage-collected types" },
    { "--disable-llvm-intrinsics", NO_VALUE, set_true, AOT(disable_llvm_intrinsics), NULL,
      "call the runtime instead of LLVM's intrinsics" },
    { "--enable-builtin-intrinsics", VALUE, set_string, AOT(builtin_intrinsics), "<flags>",
      "with --disable-llvm-intrinsics: what the runtime is called for, instead of\n"
      "the default: all, i32.common, i64.common, f32.common, ..., by commas" },
    { "--disable-llvm-jump-tables", NO_VALUE, set_true, AOT(disable_llvm_jump_tables), NULL,
      "no jump tables, as clang's -fno-jump-tables" },
    { "--disable-llvm-lto", NO_VALUE, set_true, AOT(disable_llvm_lto), NULL, "no link-time optimisation" },
    { "--enable-llvm-pgo", NO_VALUE, set_true, AOT(enable_llvm_pgo), NULL,
      "collect a profile for profile-guided optimisation" },
    { "--enable-llvm-passes", VALUE, set_string, AOT(llvm_passes), "<passes>",
      "run these LLVM passes, separated by commas" },
    { "--use-prof-file", VALUE, set_string, AOT(use_prof_file), "<file>", "optimise by this profile" },
    { "--enable-segue", OPTIONAL_VALUE, set_segue, 0, "<flags>",
      "linear memory through register GS, Linux x86-64 only: i32.load, i64.load,\n"
      "f32.load, f64.load, v128.load and .store, by commas; no flags: all" },
    { "--emit-custom-sections", VALUE, set_custom_sections, 0, "<names>",
      "copy these custom sections, separated by commas" },
    { "--native-lib", VALUE, add_native_lib, 0, "<lib.so>",
      "register the native functions of a shared object; up to 8 times" },
    { "--invoke-c-api-import", NO_VALUE, set_true, AOT(quick_invoke_c_api_import), NULL,
      "call unknown imports quickly through wasm-c-api" },
    { "--hoist-bounds-checks", NO_VALUE, set_true, offsetof(Options, hoist_bounds_checks), NULL,
      "check a loop's accesses once, before it, where that can be computed;\n"
      "else each traps where it happens, as ever. 32-bit targets only" },
    { "--enable-linux-perf", NO_VALUE, set_true, offsetof(Options, linux_perf), NULL, "support Linux perf" },
    { "--mllvm", VALUE, add_llvm_option, 0, "<option>", "pass an option to LLVM" },
    { "--enable-shared-heap", NO_VALUE, set_true, AOT(enable_shared_heap), NULL, "one shared heap" },
    { "--enable-shared-chain", NO_VALUE, set_true, AOT(enable_shared_chain), NULL,
      "more than one shared heap; code grows much" },
    { "-v", VALUE, set_log_level, 0, "<n>", "verbosity, 0 to 5; default 2" },
};

static void print_help(void) {
    puts("Usage: wamrc [options] -o <output file> <wasm file>\n\nOptions:");
    for (size_t i = 0; i < COUNT(OPTIONS); i++) {
        const Option *option = &OPTIONS[i];
        if (option->help == NULL) {
            continue;
        }
        const char *metavar = option->metavar ? option->metavar : "";
        bool optional = option->takes == OPTIONAL_VALUE;
        int width = printf("  %s%s%s%s%s", option->name, optional ? "[" : "", *metavar ? "=" : "", metavar,
                           optional ? "]" : "");
        printf("%*s", HELP_COLUMN - width, "");
        for (const char *c = option->help; *c != '\0'; c++) {
            putchar(*c);
            if (*c == '\n') {
                printf("%*s", HELP_COLUMN, "");
            }
        }
        putchar('\n');
    }
    puts("  -o <file>                           what to write\n"
         "  --version, --llvm-version, --help   print that and exit");
}

static void print_version(void) {
    uint32_t major, minor, patch;
    wasm_runtime_get_version(&major, &minor, &patch);
    printf("wamrc %u.%u.%u\n", major, minor, patch);
}

static void print_llvm_version(void) {
    unsigned major, minor, patch;
    LLVMGetVersion(&major, &minor, &patch);
    printf("LLVM %u.%u.%u\n", major, minor, patch);
}

// ---- parsing

static void set_defaults(Options *options) {
    memset(options, 0, sizeof(*options));
    options->aot = (AOTCompOption){
        .opt_level = 3,
        .size_level = 3,
        .output_format = AOT_FORMAT_FILE,
        .bounds_checks = 2,  // 2: whatever the target's default is
        .stack_bounds_checks = 2,
        .enable_simd = true,
        .enable_aux_stack_check = true,
        .enable_bulk_memory = true,
        .enable_ref_types = true,
    };
    aot_call_stack_features_init_default(&options->aot.call_stack_features);
    options->log_level = 2;
    options->llvm_options[0] = "LLVM";
    options->llvm_option_count = 1;
}

static bool apply_argument(char *argument, Options *options) {
    char *equals = strchr(argument, '=');
    size_t length = equals ? (size_t)(equals - argument) : strlen(argument);
    for (size_t i = 0; i < COUNT(OPTIONS); i++) {
        const Option *option = &OPTIONS[i];
        if (strlen(option->name) != length || strncmp(option->name, argument, length) != 0) {
            continue;
        }
        if (option->takes == NO_VALUE && equals != NULL) {
            console_error("%s takes no value", option->name);
            return false;
        }
        if ((option->takes == VALUE || option->takes == EMPTY_VALUE_TOO) && equals == NULL) {
            console_error("%s needs a value: %s=%s", option->name, option->name, option->metavar);
            return false;
        }
        if (equals != NULL && equals[1] == '\0' && option->takes != EMPTY_VALUE_TOO) {
            console_error("%s has an empty value", option->name);
            return false;
        }
        return option->apply(option, equals ? equals + 1 : NULL, options);
    }
    console_error("unknown option '%s'; see wamrc --help", argument);
    return false;
}

// What some options imply for others, after all are known.
static bool settle(Options *options) {
    AOTCompOption *aot = &options->aot;
    if (aot->aux_stack_frame_type == AOT_STACK_FRAME_TYPE_STANDARD && !aot->call_stack_features.values
        && !aot->enable_gc && !aot->enable_perf_profiling) {
        aot->aux_stack_frame_type = AOT_STACK_FRAME_TYPE_TINY;
        aot->call_stack_features.frame_per_function = true;
    }
    if (aot->enable_gc || aot->enable_perf_profiling) {
        aot->call_stack_features.func_idx = true;
    }
    if (aot->enable_gc) {
        aot->call_stack_features.values = true;
        aot->enable_ref_types = false;
    }
    if (!options->size_level_set && aot->target_abi != NULL && strcmp(aot->target_abi, "msvc") == 0) {
        aot->size_level = 1;  // Windows does not map code into the low 2 GB
    }
    if (aot->is_sgx_platform) {
        aot->size_level = 0;
    }
    if (aot->enable_shared_chain) {
        aot->enable_shared_heap = false;
        aot->bounds_checks = 1;
    }
    aot->enable_bulk_memory_opt |= aot->enable_bulk_memory || aot->enable_lime1;
    aot->enable_call_indirect_overlong |= aot->enable_ref_types || aot->enable_lime1;
    aot->enable_extended_const |= aot->enable_lime1;
#if defined(__x86_64__)
    bool segue_possible = aot->target_arch == NULL || strncmp(aot->target_arch, "x86_64", 6) == 0;
#else
    bool segue_possible = aot->target_arch != NULL && strncmp(aot->target_arch, "x86_64", 6) == 0;
#endif
    if (aot->segue_flags != 0 && !segue_possible) {
        console_error("--enable-segue is for Linux x86-64 only");
        return false;
    }
    return true;
}

ParseResult options_parse(Options *options, int argc, char **argv) {
    set_defaults(options);
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help();
            return PARSED_DONE;
        }
        if (strcmp(argv[i], "--version") == 0) {
            print_version();
            print_llvm_version();
            return PARSED_DONE;
        }
        if (strcmp(argv[i], "--llvm-version") == 0) {
            print_llvm_version();
            return PARSED_DONE;
        }
        if (strcmp(argv[i], "-o") == 0) {
            if (++i == argc) {
                console_error("-o needs a file name");
                return PARSED_WRONG;
            }
            options->output = argv[i];
        } else if (!apply_argument(argv[i], options)) {
            return PARSED_WRONG;
        }
    }
    if (!options->list_wanted) {
        if (i == argc || options->output == NULL) {
            console_error("%s; usage: wamrc [options] -o <output file> <wasm file>",
                          i == argc ? "no wasm file is named" : "no output file is named");
            return PARSED_WRONG;
        }
        if (i + 1 < argc) {
            console_error("'%s' stands after the wasm file, where nothing may stand", argv[i + 1]);
            return PARSED_WRONG;
        }
        options->input = argv[i];
    }
    return settle(options) ? PARSED_COMPILE : PARSED_WRONG;
}
