// Flash that is RAM, with a file of the computer's that QEMU runs on as its contents.
#ifndef KERN_FLASH_SEMIHOSTED_H
#define KERN_FLASH_SEMIHOSTED_H

// Read it, before anything looks at the flash. Ends QEMU, with a message on its standard error, when the file cannot be read.
void flash_semihosted_init(void);

// Before a reset, which QEMU does not close files at.
void flash_semihosted_close(void);

#endif
