// Native functions from shared objects (--native-lib), for modules that import them.
#ifndef WAMRC_NATIVE_LIB_H
#define WAMRC_NATIVE_LIB_H

#include <stdbool.h>

// Load the shared object and register what its get_native_lib() names. Prints the error when that fails.
// It stays loaded until the process ends.
bool native_lib_register(const char *path) __attribute__((warn_unused_result));

#endif
