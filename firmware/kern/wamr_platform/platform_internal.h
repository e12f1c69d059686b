// WAMR's view of the board: one core, no operating system, nothing to wait for.
#ifndef KERN_PLATFORM_INTERNAL_H
#define KERN_PLATFORM_INTERNAL_H

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BH_PLATFORM_KERN
#ifndef PATH_MAX // <limits.h> may have it
#define PATH_MAX (64)
#endif
#define BH_APPLET_PRESERVED_STACK_SIZE (512)
#define BH_THREAD_DEFAULT_PRIORITY (0)
#define OS_THREAD_MUTEX_INITIALIZER (0)
#define os_thread_local_attribute
#define bh_socket_t int

#if !KERN_INTERPRETER
// No log: nobody would read it, and its messages take flash. This stands for WAMR's bh_log.h.
#define _BH_LOG_H
#define LOG_FATAL(...) ((void)0)
#define LOG_ERROR(...) ((void)0)
#define LOG_WARNING(...) ((void)0)
#define LOG_VERBOSE(...) ((void)0)
#define LOG_DEBUG(...) ((void)0)

// For a module's few exports; newlib's take 2 KB. In runtime.c.
#define qsort small_sort
#define bsearch small_search
void small_sort(void *items, size_t count, size_t size, int (*compare)(const void *, const void *));
void *small_search(const void *key, const void *items, size_t count, size_t size, int (*compare)(const void *, const void *));
#endif

typedef int korp_tid;
typedef int korp_thread;
typedef int korp_mutex;
typedef int korp_cond;
typedef int korp_sem;
typedef int korp_rwlock;
typedef int os_file_handle;
typedef void *os_dir_stream;
typedef int os_raw_file_handle;
typedef int os_poll_file_handle;
typedef unsigned int os_nfds_t;
typedef struct timespec os_timespec;

static inline os_file_handle os_get_invalid_handle(void) {
    return -1;
}

static inline int os_getpagesize(void) {
    return 16;
}

#endif
