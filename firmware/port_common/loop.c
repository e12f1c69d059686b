// From power-up to the REPL and round at every soft reset, as MicroPython's rp2 port does it.
#include "port.h"

#include <stdlib.h>

#include "py/gc.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "shared/readline/readline.h"
#include "shared/runtime/gchelper.h"
#include "shared/runtime/pyexec.h"
#include "shared/runtime/softtimer.h"

#include "modkern.h"

static int run_repl(void) {
    return pyexec_mode_kind == PYEXEC_MODE_RAW_REPL ? pyexec_raw_repl() : pyexec_friendly_repl();
}

// Until a soft reset.
static void run(void) {
    pyexec_frozen_module("_boot.py", false);
    int ret = pyexec_file_if_exists("boot.py");
    if (!(ret & PYEXEC_FORCED_EXIT) && pyexec_mode_kind == PYEXEC_MODE_FRIENDLY_REPL && ret != 0) {
        ret = pyexec_file_if_exists("main.py");
    }
    if (!(ret & PYEXEC_FORCED_EXIT)) {
        while (run_repl() == 0) {
        }
    }
}

void port_loop(void) {
    for (;;) {
        mp_init();
        mp_obj_list_append(mp_sys_path, MP_OBJ_NEW_QSTR(MP_QSTR__slash_lib));
        readline_init0();
        run();
        mp_printf(MP_PYTHON_PRINTER, "MPY: soft reboot\n");
        soft_timer_deinit();
        kern_soft_reset();
        gc_sweep_all();
        mp_deinit();
    }
}

void gc_collect(void) {
    gc_collect_start();
    gc_helper_collect_regs_and_stack();
    soft_timer_gc_mark_all();
    gc_collect_end();
}

void nlr_jump_fail(void *exception) {
    mp_obj_print_exception(&mp_plat_print, MP_OBJ_FROM_PTR(exception));
    abort();
}
