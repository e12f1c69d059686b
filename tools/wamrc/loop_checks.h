// --hoist-bounds-checks: bounds checks of a loop's accesses are made once, before the loop.
#ifndef WAMRC_LOOP_CHECKS_H
#define WAMRC_LOOP_CHECKS_H

#ifdef __cplusplus
extern "C" {
#endif

// From now on, compilations do so.
void loop_checks_hoist(void);

#ifdef __cplusplus
}
#endif

#endif
