#include "native_lib.h"

#include <dlfcn.h>
#include <stdint.h>

#include "console.h"
#include "wasm_export.h"

// The entry point that WAMR's native libraries have: names the module, hands out its symbols, returns their number.
typedef uint32_t (*GetNativeLib)(char **module_name, NativeSymbol **symbols);

bool native_lib_register(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (library == NULL) {
        console_error("--native-lib: %s", dlerror());
        return false;
    }
    GetNativeLib get_native_lib;
    *(void **)&get_native_lib = dlsym(library, "get_native_lib");
    if (get_native_lib == NULL) {
        console_error("--native-lib: %s has no function get_native_lib", path);
        return false;
    }
    char *module_name = NULL;
    NativeSymbol *symbols = NULL;
    uint32_t count = get_native_lib(&module_name, &symbols);
    if (count == 0 || module_name == NULL || symbols == NULL
        || !wasm_runtime_register_natives(module_name, symbols, count)) {
        console_error("--native-lib: the functions of %s cannot be registered", path);
        return false;
    }
    return true;
}
