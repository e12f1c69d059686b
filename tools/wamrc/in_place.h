// What --enable-indirect-mode promises, code without relocations, where LLVM by itself does not keep it.
#ifndef WAMRC_IN_PLACE_H
#define WAMRC_IN_PLACE_H

#include <llvm/IR/Module.h>

// Changes optimised code, of x86-64 and Xtensa only.
void in_place_prepare(llvm::Module &module);

#endif
