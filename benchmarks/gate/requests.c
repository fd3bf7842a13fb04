/* What a program can ask of callgrind, as functions that Python calls. Outside valgrind none of them does anything. */

#include <valgrind/callgrind.h>

/* 1 under valgrind. */
int gate_running(void) { return RUNNING_ON_VALGRIND != 0; }

/* Begin to count: everything that runs is translated anew, with counters. */
void gate_on(void) { CALLGRIND_START_INSTRUMENTATION; }

/* Stop counting: the program goes on several times as fast. */
void gate_off(void) { CALLGRIND_STOP_INSTRUMENTATION; }

/* Forget what was counted so far. */
void gate_zero(void) { CALLGRIND_ZERO_STATS; }

/* Write what was counted into the next callgrind.out file, and forget it. */
void gate_dump(void) { CALLGRIND_DUMP_STATS; }
