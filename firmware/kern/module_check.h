// What must hold of a module before it is instantiated, so that nothing of it runs outside the guard or lands outside the private page.
#ifndef KERN_MODULE_CHECK_H
#define KERN_MODULE_CHECK_H

#include "image.h"
#include "wasm_export.h"

// Check a module that WAMR loaded as the body of `kernel`. False: see instance_message. `data_start` is set to where what the module
// keeps between calls begins in linear memory: above its stack if that is at the bottom, as wasm-ld puts it.
bool module_check(wasm_module_t module, const struct image_kernel *kernel, uint32_t *data_start);

#endif
