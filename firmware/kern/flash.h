// The port's flash, as the store sees it.
#ifndef KERN_FLASH_H
#define KERN_FLASH_H

#include "store.h"

extern const struct store_flash kern_flash;

#endif
