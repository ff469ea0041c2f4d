// The door that Swift's runtime leaves open to who wants to run its tasks: swift/Runtime/Concurrency.h. Its calling
// convention and its global variable can be written in C only.
#ifndef CTASKS_H
#define CTASKS_H

// From now on hands each piece of a task that no actor's own executor runs to `take`, from any thread. Whoever takes one
// has it run exactly once, by station_run_task. To be called before there is a task.
void station_take_tasks(void (*take)(void *job));

// Runs a piece of a task on this thread, up to where it waits.
void station_run_task(void *job);

#endif
