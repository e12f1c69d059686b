// What guard_unix.c and the port that maps its memory agree on.
#ifndef KERN_GUARD_UNIX_H
#define KERN_GUARD_UNIX_H

#define GUARD_PAGE (4096) // bytes below the kernel stack to which there is no access

#endif
