// The port's flash, as the store sees it, and its clock.
#ifndef KERN_FLASH_H
#define KERN_FLASH_H

#include "kern_board.h"
#include "store.h"

extern const struct store_flash kern_flash;

// Of its fields, those that the board's facts say.
#define KERN_FLASH_FACTS \
    .sector = KERN_FLASH_SECTOR, \
    .slots = { KERN_SLOT_A, KERN_SLOT_B }, \
    .slot_size = KERN_SLOT_SIZE, \
    .state = KERN_STATE, \
    .state_size = KERN_STATE_SIZE, \
    .keys = KERN_KEYS_AREA

// Microseconds since power-up. Does not wrap: the previous pack's time would come again.
uint64_t kern_uptime_us(void);

#endif
