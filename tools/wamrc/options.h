// The command line of wamrc: that of the official one of WAMR 2.4.3, with errors that say what is wrong.
#ifndef WAMRC_OPTIONS_H
#define WAMRC_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aot_export.h"

#define MAX_NATIVE_LIBS 8
#define MAX_LLVM_OPTIONS 64
#define MAX_CUSTOM_SECTIONS 64

typedef struct {
    AOTCompOption aot;
    const char *input;  // NULL when only a list of targets, ABIs, CPUs or features is wanted
    const char *output;
    int log_level;
    bool list_wanted;
    bool size_level_set;
    bool linux_perf;
    bool hoist_bounds_checks;
    const char *native_libs[MAX_NATIVE_LIBS];
    unsigned native_lib_count;
    const char *llvm_options[1 + MAX_LLVM_OPTIONS];  // the first is the program's name
    unsigned llvm_option_count;
    char *custom_sections[MAX_CUSTOM_SECTIONS];
} Options;

typedef enum {
    PARSED_COMPILE,  // go on and compile
    PARSED_DONE,     // --help or --version was printed
    PARSED_WRONG,    // the error was printed
} ParseResult;

// Fill options from the command line. Strings point into argv, lists in it are split in place.
ParseResult options_parse(Options *options, int argc, char **argv) __attribute__((warn_unused_result));

#endif
