// Interrupts, time and randomness of a Linux process. SIGIO is input, SIGALRM a soft timer.
#define _GNU_SOURCE // ppoll
#include "unix.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "py/mphal.h"
#include "py/runtime.h"
#include "shared/runtime/softtimer.h"

#include "port.h"

// ---- interrupts ----

static volatile sig_atomic_t off; // how often they were turned off
static volatile sig_atomic_t due; // a signal came meanwhile
static volatile sig_atomic_t happened; // input has come since somebody last waited

static void serve(void) {
    do {
        off++;
        due = false;
        happened |= terminal_take();
        soft_timer_handler();
        off--;
    } while (due && !off);
}

static void on_signal(int number) {
    (void)number;
    int error = errno;
    due = true;
    if (!off) {
        serve();
    }
    errno = error;
}

unsigned port_interrupts_off(void) {
    return off++;
}

void port_interrupts_restore(unsigned state) {
    off = state;
    if (due && !off) {
        serve();
    }
}

void interrupts_poll(void) {
    if (!off) {
        serve();
    }
}

// On the signal stack: a kernel's own has no room for them.
void interrupts_init(void) {
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK };
    sigset_t none;
    sigfillset(&action.sa_mask);
    sigaction(SIGIO, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL); // a reset has blocked them
}

static bool is_something_scheduled(void) {
    return MP_STATE_VM(sched_state) == MP_SCHED_PENDING;
}

// Signals are blocked from the look to the wait, so that none goes by unseen.
void port_wait(mp_uint_t timeout_ms) {
    struct timespec timeout = { .tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L };
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    if (!happened && !is_something_scheduled()) {
        struct pollfd input = { .fd = terminal_wants() ? STDIN_FILENO : -1, .events = POLLIN };
        ppoll(&input, 1, &timeout, &before);
    }
    happened = false;
    sigprocmask(SIG_SETMASK, &before, NULL);
    interrupts_poll();
}

// ---- time ----

uint64_t mp_hal_time_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

void soft_timer_schedule_at_ms(uint32_t ticks_ms) {
    int32_t ms = soft_timer_ticks_diff(ticks_ms, mp_hal_ticks_ms());
    struct itimerval in = { .it_value = { .tv_sec = ms > 0 ? ms / 1000 : 0, .tv_usec = ms > 0 ? ms % 1000 * 1000 : 1 } };
    setitimer(ITIMER_REAL, &in, NULL);
}

// kern counts nanoseconds.
uint32_t port_frequency(void) {
    return 1000000000;
}

// ---- randomness ----

unsigned port_random(void) {
    unsigned random = 0;
    (void)!getrandom(&random, sizeof(random), 0);
    return random;
}
