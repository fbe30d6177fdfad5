/*
 * A station on a shmif bus in C, to judge the Python one. It follows the rules
 * of NetBSD's driver (sys/rump/net/lib/libshmif) as its documentation in
 * docs/shmif.md has them, and stops where a driver with DIAGNOSTIC panics.
 *
 *   judge PATH MODE NUMBER
 *
 * MODE send: for each line "COUNT" on standard input, sends that many frames.
 * MODE recv: for each line "COUNT", receives that many, checks each against
 * what Python's frame_of() makes, and answers "ok". MODE both: sends, then
 * receives. MODE lock: for each line adds 1 to a plain word COUNT times, under
 * the lock. MODE die: takes the lock, moves shm_last as the driver does, dies.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define DEMAND(what) \
    do { if (!(what)) { printf("line %d: %s\n", __LINE__, #what); exit(3); } } while (0)

enum { TOTAL = 1048576, LONGEST = 1514 };

struct bus {
    uint32_t magic, version;
    uint64_t generation;
    uint32_t first, last, lock, spare;
    uint8_t data[];
};
#define ROOM ((uint32_t)(TOTAL - sizeof(struct bus)))

struct header {
    uint32_t length, seconds, microseconds;
    uint64_t sender;
};

static struct bus *bus;
static int fd, watch;
static uint64_t me;
static uint32_t next_packet;
static uint64_t my_generation;

static void lock(void)
{
    for (int tries = 0; __sync_val_compare_and_swap(&bus->lock, 0, 1) == 1;)
        if (++tries > 1000) {
            struct timespec millisecond = { 0, 1000000 };
            nanosleep(&millisecond, NULL);
            tries = 0;
        }
    __sync_synchronize();
}

static void unlock(void)
{
    __sync_synchronize();
    DEMAND(__atomic_exchange_n(&bus->lock, 0, __ATOMIC_SEQ_CST) == 1);
}

/* Copies out of the ring; says where it ends and whether the end was reached. */
static uint32_t get(void *to, uint32_t at, uint32_t size, int *around)
{
    DEMAND(at <= ROOM && size < ROOM / 2);
    uint32_t part = ROOM - at < size ? ROOM - at : size;
    memcpy(to, bus->data + at, part);
    memcpy((uint8_t *)to + part, bus->data, size - part);
    if (at + part == ROOM)
        *around = 1;
    return (at + size) % ROOM;
}

static uint32_t behind(uint32_t at)
{
    struct header header;
    int around = 0;
    get(&header, at, sizeof header, &around);
    DEMAND(header.length < ROOM);
    return (uint32_t)((at + sizeof header + header.length) % ROOM);
}

static void free_room(uint32_t at, uint32_t size)
{
    while (at <= bus->first + sizeof(struct header) && at + size > bus->first)
        bus->first = behind(bus->first);
}

static uint32_t put(uint32_t at, const void *from, uint32_t size, int *around)
{
    DEMAND(at <= ROOM && size < ROOM / 2);
    uint32_t part = ROOM - at < size ? ROOM - at : size;
    int reached = at + part == ROOM;
    free_room(at, part + reached);
    memcpy(bus->data + at, from, part);
    if (reached)
        *around = 1;
    if (part < size) {
        free_room(0, size - part);
        memcpy(bus->data, (const uint8_t *)from + part, size - part);
    }
    return (at + size) % ROOM;
}

/* The same as frame_of() in shmif_support.py. */
static uint32_t make_frame(uint64_t number, uint8_t *frame)
{
    uint32_t size = 14 + number * 7919 % 1501;
    for (int n = 0; n < 8; n++)
        frame[n] = number >> (56 - 8 * n);
    for (uint32_t n = 8; n < size; n++)
        frame[n] = (uint8_t)(number * 31 % 2048 + n - 8);
    return size;
}

static void send_frame(uint64_t number)
{
    uint8_t frame[LONGEST];
    int around = 0;
    struct header header = { make_frame(number, frame), 1, 2, me };

    lock();
    DEMAND(bus->magic == 0xca11d054);
    bus->last = behind(bus->last);
    uint32_t at = put(bus->last, &header, sizeof header, &around);
    put(at, frame, header.length, &around);
    bus->generation += around;
    DEMAND(bus->first != bus->last);
    unlock();
}

static void wake(void)
{
    uint32_t version = 3;
    DEMAND(pwrite(fd, &version, 4, 4) == 4);
}

static int still_there(void)
{
    uint64_t laps = bus->generation - my_generation;
    uint32_t mine = next_packet, end = behind(bus->last);

    DEMAND(bus->first != bus->last);
    if (laps > 1)
        return 0;
    if (bus->first >= end) {
        end += ROOM;
        if (laps == 0)
            mine += ROOM;
    } else if (laps)
        return 0;
    return mine >= bus->first && mine <= end;
}

/* Receives one frame of somebody else's, waiting for it. */
static uint32_t receive(uint8_t *frame)
{
    for (;;) {
        struct header header;
        int around = 0;

        lock();
        DEMAND(bus->magic == 0xca11d054);
        DEMAND(bus->generation >= my_generation);
        if (bus->generation == my_generation && behind(bus->last) == next_packet) {
            struct pollfd wait = { watch, POLLIN, 0 };
            char events[4096];
            unlock();
            DEMAND(poll(&wait, 1, 10000) == 1);
            DEMAND(read(watch, events, sizeof events) > 0);
            continue;
        }
        DEMAND(still_there());
        DEMAND(next_packet <= bus->last || bus->generation != my_generation);
        uint32_t at = get(&header, next_packet, sizeof header, &around);
        DEMAND(header.length <= LONGEST);
        next_packet = get(frame, at, header.length, &around);
        my_generation += around;
        unlock();
        if (header.length >= 14 && header.sender != me)
            return header.length;
    }
}

int main(int count, char **words)
{
    uint64_t send_number, receive_number;
    int turns;

    DEMAND(count == 4);
    me = 0xc0ffee0000000000 + getpid();
    send_number = receive_number = strtoull(words[3], NULL, 10);
    fd = open(words[1], O_RDWR | O_CREAT, 0644);
    DEMAND(fd >= 0 && ftruncate(fd, TOTAL) == 0);
    bus = mmap(NULL, TOTAL, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    DEMAND(bus != MAP_FAILED);
    lock();
    if (bus->magic == 0) {
        bus->magic = 0xca11d054;
        bus->first = ROOM;
    }
    next_packet = behind(bus->last);
    my_generation = bus->generation;
    unlock();
    watch = inotify_init();
    DEMAND(inotify_add_watch(watch, words[1], IN_MODIFY) >= 0);
    printf("ready\n");
    fflush(stdout);
    if (!strcmp(words[2], "die")) {
        lock();
        bus->last = behind(bus->last);
        memset(bus->data + bus->last, 0xff, 4);
        kill(getpid(), SIGKILL);
    }
    while (scanf("%d", &turns) == 1) {
        if (!strcmp(words[2], "lock"))
            for (int n = 0; n < turns; n++) {
                lock();
                ((volatile uint32_t *)bus->data)[200000]++;
                unlock();
            }
        if (words[2][0] == 's' || words[2][0] == 'b') {
            for (int n = 0; n < turns; n++)
                send_frame(send_number++);
            wake();
        }
        if (words[2][0] == 'r' || words[2][0] == 'b')
            for (int n = 0; n < turns; n++) {
                uint8_t frame[LONGEST], wanted[LONGEST];
                uint32_t size = receive(frame);
                DEMAND(size == make_frame(receive_number++, wanted));
                DEMAND(!memcmp(frame, wanted, size));
            }
        printf("ok\n");
        fflush(stdout);
    }
    return 0;
}
