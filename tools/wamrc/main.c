// wamrc: compiles WebAssembly ahead of time with WAMR's compiler library.
//
// Exit codes are the official wamrc's: 0 done; 1 a wrong command line or a failed compilation; 255 when input and
// output are the same file. Differences: --help exits with 0, as do the lists (--target=help and the like);
// errors go to stderr; a value or an argument that the official one would ignore is an error.
#include <stdlib.h>
#include <string.h>

#include "compile.h"
#include "console.h"
#include "options.h"

int main(int argc, char **argv) {
    Options options;
    switch (options_parse(&options, argc, argv)) {
        case PARSED_DONE:
            return EXIT_SUCCESS;
        case PARSED_WRONG:
            return EXIT_FAILURE;
        case PARSED_COMPILE:
            break;
    }
    if (options.input != NULL && strcmp(options.input, options.output) == 0) {
        console_error("input and output are the same file");
        return -1;
    }
    return compile(&options) ? EXIT_SUCCESS : EXIT_FAILURE;
}
