// The port's flash, as the store sees it, and its clock.
#ifndef KERN_FLASH_H
#define KERN_FLASH_H

#include "store.h"

extern const struct store_flash kern_flash;

// Microseconds since power-up. Does not wrap: the previous pack's time would come again.
uint64_t kern_uptime_us(void);

#endif
