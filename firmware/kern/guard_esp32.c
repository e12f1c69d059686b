// Guard of the ESP32 family. Kernels run in a task of their own, on the kernel stack; the task that calls them waits. Both are on one
// core and of one priority, so while one of them looks, the other stands still.
//
// The caller wakes every tick. When it finds that a call is past its deadline, it deletes the kernels' task; the next call makes a
// new one. A trap and a fault go back to the task's own loop. `cycles` counts the switches between the tasks too.
//
// Not caught, as ESP-IDF comes to them by an interrupt or twice: accesses that the flash cache reports, watchdogs, faults while a
// fault is handled. They reset the board, as anywhere in the firmware.
#include "guard.h"

#include <setjmp.h>
#include <stddef.h>

#include "esp_attr.h"
#include "esp_cpu.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/semphr.h"
#include "freertos/task.h"

#include "guard_esp32.h"
#include "kern_board.h"

#if CONFIG_IDF_TARGET_ARCH_RISCV
#include "riscv/rvruntime-frames.h"
#else
#include "xtensa_context.h"
#endif

#define TICK (pdMS_TO_TICKS(GUARD_TICK_US / 1000))

_Static_assert(TICK > 0, "deadlines are looked at every GUARD_TICK_US");

// What guard_run asks of the task, and what became of it.
static struct {
    const struct guard_call *const *calls;
    uint32_t count;
    const void *kind;
    uint32_t done;
    int code;
    int32_t returned;
} job;

static volatile struct {
    bool active;       // guard_run is under way
    bool inside;       // and the task in the function of a call
    uint32_t ticket;
    uint32_t deadline; // of the call under way, in microseconds, low word
    uint32_t began;    // the call under way, in cycles
    int code;          // what a call is ended with
    uintptr_t pc, address; // see struct guard_end
} state = { .address = GUARD_NO_ADDRESS };

static TaskHandle_t task;
static StaticTask_t task_memory;
static SemaphoreHandle_t ended; // given when the job is done
static StaticSemaphore_t ended_memory;
static jmp_buf loop; // in the task

void guard_init(void) {
    ended = xSemaphoreCreateBinaryStatic(&ended_memory);
}

// Of tasks that run Python one at a time has the interpreter's lock, and all are on one core.
bool guard_busy(void) {
    return xPortInIsrContext();
}

bool guard_inside(void) {
    return state.active;
}

void guard_set_ticket(uint32_t ticket) {
    state.ticket = ticket;
}

uint32_t guard_ticket(void) {
    return state.ticket;
}

static uint32_t now_us(void) {
    return (uint32_t)esp_timer_get_time();
}

// ---- the task ----

static bool is_ready(const struct guard_call *call) {
    return ((uintptr_t)call & 3) == 0 && call->kind == job.kind && call->ticket == state.ticket;
}

static int32_t make(const struct guard_call *call) {
    int32_t (*entry)(uintptr_t, uintptr_t, uintptr_t) = (int32_t (*)(uintptr_t, uintptr_t, uintptr_t))call->entry;
    state.began = esp_cpu_get_cycle_count();
    state.deadline = now_us() + call->deadline_us;
    state.inside = true;
    int32_t returned = entry(call->arg[0], call->arg[1], call->arg[2]);
    state.inside = false;
    return returned;
}

// Keeps nothing in variables of its own: guard_leave comes back here.
static void run_job(void) {
    if (setjmp(loop) != 0) {
        job.code = state.code;
        return;
    }
    while (job.code == KERN_OK && job.done < job.count) {
        if (!is_ready(job.calls[job.done])) {
            job.code = GUARD_NOT_READY;
        } else if ((job.returned = make(job.calls[job.done])) != 0) {
            job.code = KERN_KERNEL_TRAP;
        } else {
            job.done++;
        }
    }
}

static void run(void *unused) {
    (void)unused;
    for (;;) {
        ulTaskNotifyTake(pdTRUE, portMAX_DELAY);
        run_job();
        xSemaphoreGive(ended);
    }
}

// From whatever the kernel was doing, in the task.
static _Noreturn void guard_leave(void) {
    state.inside = false;
    longjmp(loop, 1);
}

void guard_trap(int code, uintptr_t return_address) {
    state.code = code;
    state.pc = return_address != 0 ? return_address - 2 : 0; // in the instruction that called
    guard_leave();
}

// ---- faults ----

#if CONFIG_IDF_TARGET_ARCH_RISCV
typedef RvExcFrame frame_t;

static inline uintptr_t stack_of(const frame_t *frame) {
    return (uintptr_t)frame->sp;
}

static inline uintptr_t pc_of(const frame_t *frame) {
    return (uintptr_t)frame->mepc;
}

static inline uintptr_t address_of(const frame_t *frame) {
    bool access = frame->mcause >= 4 && frame->mcause <= 7; // loads and stores, misaligned or refused
    return access ? (uintptr_t)frame->mtval : GUARD_NO_ADDRESS;
}

static inline void divert(frame_t *frame) {
    frame->mepc = (long)guard_leave;
}
#else
typedef XtExcFrame frame_t;

static inline uintptr_t stack_of(const frame_t *frame) {
    return (uintptr_t)frame->a1;
}

static inline uintptr_t pc_of(const frame_t *frame) {
    return (uintptr_t)frame->pc;
}

static inline uintptr_t address_of(const frame_t *frame) {
    bool access = frame->exccause == EXCCAUSE_LOAD_STORE_ERROR || frame->exccause == EXCCAUSE_UNALIGNED
        || frame->exccause == EXCCAUSE_LOAD_PROHIBITED || frame->exccause == EXCCAUSE_STORE_PROHIBITED;
    return access ? (uintptr_t)frame->excvaddr : GUARD_NO_ADDRESS;
}

// As if the kernel had called it: with a register window of its own.
static inline void divert(frame_t *frame) {
    frame->pc = (long)guard_leave;
    frame->ps = (frame->ps & ~PS_CALLINC_MASK) | PS_CALLINC(1);
}
#endif

// The linker puts it in front of ESP-IDF's (see chips/esp32.cmake), which prints the registers and resets the board. Changing where the
// frame goes on and returning ends the exception.
void __real_xt_unhandled_exception(void *frame);
void __wrap_xt_unhandled_exception(void *frame);

void IRAM_ATTR __wrap_xt_unhandled_exception(void *exception) {
    frame_t *frame = exception;
    // Interrupt handlers have a stack of their own.
    if (!state.inside || stack_of(frame) - KERN_STACK_ADDRESS >= KERN_STACK_SIZE) {
        __real_xt_unhandled_exception(exception);
        return;
    }
    state.code = KERN_NATIVE_FAULT;
    state.pc = pc_of(frame);
    state.address = address_of(frame);
    divert(frame);
}

// ---- calls ----

void guard_esp32_stop(void) {
    if (task != NULL) {
        vTaskDelete(task); // at once, since it is of this core and not running
        task = NULL;
    }
}

static void start(void) {
    if (task == NULL) {
        task = xTaskCreateStaticPinnedToCore(run, "kern", KERN_STACK_SIZE, NULL, uxTaskPriorityGet(NULL),
            (StackType_t *)KERN_STACK_ADDRESS, &task_memory, xPortGetCoreID());
    }
}

// Until the job is done, or a call of it is over its time.
static void wait(void) {
    while (xSemaphoreTake(ended, TICK) != pdTRUE) {
        if (state.inside && (int32_t)(now_us() - state.deadline) >= 0) {
            guard_esp32_stop();
            state.inside = false;
            job.code = KERN_EPOCH_DEADLINE;
            return;
        }
    }
}

int guard_run(const struct guard_call *const *calls, uint32_t count, const void *kind, struct guard_end *end) {
    if (guard_busy()) {
        return GUARD_BUSY;
    }
    uint32_t began = esp_cpu_get_cycle_count();
    start();
    job.calls = calls;
    job.count = count;
    job.kind = kind;
    job.done = 0;
    job.code = KERN_OK;
    job.returned = 0;
    state.active = true;
    xTaskNotifyGive(task);
    wait();
    state.active = false;
    bool whole = job.code == KERN_OK || job.code == GUARD_NOT_READY;
    *end = (struct guard_end) {
        .done = job.done,
        .cycles = esp_cpu_get_cycle_count() - (whole ? began : state.began),
        .returned = job.code == KERN_KERNEL_TRAP ? job.returned : 0,
        .pc = state.pc,
        .address = state.address,
    };
    state.pc = 0;
    state.address = GUARD_NO_ADDRESS;
    return job.code;
}
