// The flash of a Linux process: a file.
#ifndef KERN_FLASH_UNIX_H
#define KERN_FLASH_UNIX_H

// Map the file where the board's flash is. Ends the process, saying why, when it cannot be had.
void flash_unix_open(const char *path);

#endif
