// What LLVM itself would pass over: it warns about an unknown CPU or feature and goes on, and its C API drops
// errors in its own options. Here each is an error.
#ifndef WAMRC_LLVM_CHECKS_H
#define WAMRC_LLVM_CHECKS_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

// Give LLVM its command line options; the first string is the program's name. Prints the error when one is unknown.
bool llvm_parse_options(int count, const char *const *options) __attribute__((warn_unused_result));

// Whether this LLVM knows the CPU and every feature of "+a,-b" for the target (NULL: this machine's). cpu and features
// may be NULL. Prints the error when it does not. A target whose name LLVM cannot parse is left to the compiler.
bool llvm_check_cpu(const char *target, const char *cpu, const char *features) __attribute__((warn_unused_result));

#ifdef __cplusplus
}
#endif

#endif
