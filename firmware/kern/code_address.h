// Where the code of the slots runs. It is hashed and loaded where flash is read as data; most processors run it right there.
#ifndef KERN_CODE_ADDRESS_H
#define KERN_CODE_ADDRESS_H

#include <stdint.h>

#ifdef KERN_CODE_ELSEWHERE
extern uintptr_t kern_code_offset; // from data's addresses to instructions'; set before anything is loaded
#else
#define kern_code_offset ((uintptr_t)0)
#endif

static inline void *code_address(const void *p) {
    return (void *)((uintptr_t)p + kern_code_offset);
}

#endif
