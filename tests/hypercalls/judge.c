/* Uses hypercalls as a kernel does: by address, from many threads. */

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct calls {
    void (*mutex_init)(void **, int);
    void (*mutex_enter)(void *);
    void (*mutex_enter_nowrap)(void *);
    int (*mutex_tryenter)(void *);
    void (*mutex_exit)(void *);
    void (*mutex_destroy)(void *);
    void (*mutex_owner)(void *, void **);
    void (*rw_init)(void **);
    void (*rw_enter)(int, void *);
    int (*rw_tryenter)(int, void *);
    int (*rw_tryupgrade)(void *);
    void (*rw_downgrade)(void *);
    void (*rw_exit)(void *);
    void (*rw_destroy)(void *);
    void (*rw_held)(int, void *, int *);
    void (*cv_init)(void **);
    void (*cv_destroy)(void *);
    void (*cv_wait)(void *, void *);
    void (*cv_wait_nowrap)(void *, void *);
    int (*cv_timedwait)(void *, void *, int64_t, int64_t);
    void (*cv_signal)(void *);
    void (*cv_broadcast)(void *);
    void (*cv_has_waiters)(void *, int *);
    void (*curlwpop)(int, void *);
    void *(*curlwp)(void);
    int (*thread_create)(void *(*)(void *), void *, const char *, int, int, int,
        void **);
    void (*thread_exit)(void);
    int (*thread_join)(void *);
    int (*malloc)(size_t, int, void **);
    void (*free)(void *, size_t);
};

static struct calls c;
void take(const struct calls *p) { c = *p; }

enum { SET = 2, CLEAR = 3, READER = 0, WRITER = 1 };

static void *mtx, *rw, *cv, *cv2;
static volatile long counter, first, second, errors, wanted, given;
static long loops;
static int barrier_in, barrier_round;

#define BAD() __sync_fetch_and_add(&errors, 1)

/* each thread is an lwp of its own; the address of a local will do */
#define BEGIN char me; c.curlwpop(SET, &me); if (c.curlwp() != &me) BAD();
#define END c.curlwpop(CLEAR, &me); if (c.curlwp() != NULL) BAD(); return NULL;

static void *count(void *arg)
{
    BEGIN
    for (long i = 0; i < loops; i++) {
        void *owner = NULL;
        if (i % 3 == 0) {
            while (c.mutex_tryenter(mtx) != 0)
                sched_yield();
        } else if (i % 3 == 1 && arg != NULL) {
            c.mutex_enter_nowrap(mtx);
        } else {
            c.mutex_enter(mtx);
        }
        c.mutex_owner(mtx, &owner);
        if (owner != &me)
            BAD();
        if (c.mutex_tryenter(mtx) != 16)	/* EBUSY, ours or not */
            BAD();
        long seen = counter;
        if (i % 16 == 0)
            sched_yield();
        counter = seen + 1;
        c.mutex_exit(mtx);
    }
    END
}

static void *readwrite(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)&arg;
    BEGIN
    for (long i = 0; i < loops; i++) {
        int held, what = rand_r(&seed) % 8;
        if (what < 4) {
            if (what != 0)
                c.rw_enter(READER, rw);
            else if (c.rw_tryenter(READER, rw) != 0)
                continue;
            if (first != second)
                BAD();
            c.rw_held(READER, rw, &held);
            if (held < 1)
                BAD();
            c.rw_held(WRITER, rw, &held);
            if (held)
                BAD();
            if (what == 1 && c.rw_tryupgrade(rw) == 0) {
                c.rw_held(WRITER, rw, &held);
                if (!held)
                    BAD();
                first++; sched_yield(); second++;
            }
        } else {
            if (what != 4)
                c.rw_enter(WRITER, rw);
            else if (c.rw_tryenter(WRITER, rw) != 0)
                continue;
            c.rw_held(WRITER, rw, &held);
            if (!held)
                BAD();
            first++;
            if (i % 8 == 0)
                sched_yield();
            second++;
            if (what == 5) {
                long seen = first;
                c.rw_downgrade(rw);
                if (first != seen || second != seen)
                    BAD();
                c.rw_held(WRITER, rw, &held);
                if (held)
                    BAD();
            }
        }
        c.rw_exit(rw);
    }
    END
}

/* a buffer of four: given never runs more than four ahead of wanted */
static void *produce(void *arg)
{
    BEGIN
    for (long i = 0; i < loops; i++) {
        c.mutex_enter(mtx);
        while (given - wanted >= 4) {
            if (arg != NULL)
                c.cv_wait_nowrap(cv, mtx);
            else
                c.cv_wait(cv, mtx);
        }
        given++;
        c.cv_signal(cv2);
        c.mutex_exit(mtx);
    }
    END
}

static void *consume(void *arg)
{
    BEGIN
    for (long i = 0; i < loops; i++) {
        c.mutex_enter(mtx);
        while (given == wanted) {
            int rv = c.cv_timedwait(cv2, mtx, 0, 1000000 * (i % 3));
            if (rv != 0 && rv != 60)	/* ETIMEDOUT */
                BAD();
        }
        wanted++;
        c.cv_signal(cv);
        c.mutex_exit(mtx);
    }
    END
}

static int nthreads;

static void *meet(void *arg)
{
    BEGIN
    for (long i = 0; i < loops; i++) {
        c.mutex_enter(mtx);
        int round = barrier_round;
        if (++barrier_in == nthreads) {
            int waiting;
            c.cv_has_waiters(cv, &waiting);
            if (waiting < nthreads - 1)
                BAD();
            barrier_in = 0;
            barrier_round++;
            c.cv_broadcast(cv);
        } else {
            while (round == barrier_round)
                c.cv_wait(cv, mtx);
        }
        c.mutex_exit(mtx);
        counter = barrier_round;
    }
    END
}

static void *allocate(void *arg)
{
    BEGIN
    for (long i = 0; i < loops; i++) {
        void *p[8];
        size_t size = 1 + (i * 977) % 5000;
        int align = 8 << (i % 10);
        for (int j = 0; j < 8; j++) {
            if (c.malloc(size, align, &p[j]) != 0 ||
                (uintptr_t)p[j] % align != 0)
                BAD();
            memset(p[j], j + 1, size);
        }
        for (int j = 0; j < 8; j++) {
            for (size_t k = 0; k < size; k++)
                if (((unsigned char *)p[j])[k] != j + 1)
                    BAD();
            c.free(p[j], size);
        }
    }
    END
}

static void *leave(void *arg)
{
    __sync_fetch_and_add(&counter, 1);
    c.curlwpop(SET, arg);
    if (c.curlwp() != arg)
        BAD();
    c.curlwpop(CLEAR, arg);
    c.thread_exit();
    BAD();
    return NULL;
}

static void *(*const jobs[])(void *) =
    { count, readwrite, produce, consume, meet, allocate, leave };

/*
 * Run `threads` threads, thread t doing job1 or job2 in turn, each `n` times;
 * threads are the host's own, or made by hypercall. Returns the errors found.
 */
long run(int job1, int job2, int threads, long n, int flags, int hyper)
{
    pthread_t plain[64];
    void *made[64];

    counter = first = second = errors = wanted = given = 0;
    barrier_in = barrier_round = 0;
    loops = n;
    nthreads = threads;
    c.mutex_init(&mtx, flags);
    c.rw_init(&rw);
    c.cv_init(&cv);
    c.cv_init(&cv2);
    void *arg = (flags & 1) ? &c : NULL;	/* a spin mutex: nowrap is allowed */
    for (int t = 0; t < threads; t++) {
        void *(*job)(void *) = jobs[t % 2 ? job2 : job1];
        if (hyper) {
            if (c.thread_create(job, arg, "judge", 1, 0, -1, &made[t]))
                BAD();
        } else if (pthread_create(&plain[t], NULL, job, arg) != 0)
            BAD();
    }
    for (int t = 0; t < threads; t++) {
        if (hyper ? c.thread_join(made[t]) : pthread_join(plain[t], NULL))
            BAD();
    }
    c.mutex_destroy(mtx);
    c.rw_destroy(rw);
    c.cv_destroy(cv);
    c.cv_destroy(cv2);
    return errors;
}

long get(int what)
{
    const long v[] = { counter, first, second, wanted, given };
    return v[what];
}

/* threads one after the other, as a kernel makes and ends them */
long serial(int threads)
{
    counter = errors = 0;
    for (int t = 0; t < threads; t++) {
        void *cookie;
        if (c.thread_create(leave, &c, "short", 1, 0, -1, &cookie) ||
            c.thread_join(cookie))
            BAD();
    }
    return errors;
}

/* detached ones: only their count tells that they ran */
long detached(int threads)
{
    counter = errors = 0;
    for (int t = 0; t < threads; t++)
        if (c.thread_create(leave, &c, NULL, 0, 0, -1, NULL))
            BAD();
    for (int t = 0; t < 2000 && counter < threads; t++) {
        struct timespec ts = { 0, 1000000 };
        nanosleep(&ts, NULL);
    }
    return errors + (threads - counter);
}
