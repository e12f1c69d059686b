// From a wasm file to an AOT file, an object file or LLVM IR.
#ifndef WAMRC_COMPILE_H
#define WAMRC_COMPILE_H

#include <stdbool.h>

#include "options.h"

// Compile as options say, or print the list that they ask for. Prints the error when that fails.
bool compile(Options *options) __attribute__((warn_unused_result));

#endif
