#include "ctasks.h"
#include <stdint.h>

#define SWIFT __attribute__((swiftcall))

// Which actor it is run for; none, in two words of zero.
struct executor {
    void *identity;
    uintptr_t implementation;
};

extern SWIFT void swift_job_run(void *job, struct executor executor);
extern SWIFT void (*swift_task_enqueueGlobal_hook)(void *job, SWIFT void (*original)(void *job));

static void (*taker)(void *job);

static SWIFT void enqueue(void *job, SWIFT void (*original)(void *job)) {
    (void)original;
    taker(job);
}

void station_take_tasks(void (*take)(void *job)) {
    taker = take;
    swift_task_enqueueGlobal_hook = enqueue;
}

void station_run_task(void *job) { swift_job_run(job, (struct executor){0, 0}); }
