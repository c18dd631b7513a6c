/* TFTP load: N clients fetch one file again and again for some seconds; every byte is compared with the file.
 *
 * One line of JSON comes out: payload bytes per second and what went wrong. One thread, epoll, recvmmsg: on the
 * machines it was tried on it takes less CPU time per block than any server it was pointed at.
 * RFC 1350, 2348 (blksize), 7440 (windowsize). Loss is made here: received DATA is thrown away by chance.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, LONGEST = 9000, WAIT_MS = 1000 };

struct client {
    int fd;
    struct sockaddr_in server; /* the well-known port until the first answer, then the transfer's */
    int answered;
    uint64_t expected;  /* next block, not wrapped */
    uint32_t since_ack; /* blocks taken since the last ACK */
    int gap_told;       /* a gap is told once, until a block in order comes */
    double heard;       /* when we last made progress or spoke up */
};

static const char *host = "127.0.0.1", *name = "file", *path, *spread;
static int port = 69, clients = 16, blksize = 1468, window = 1, spin = 0;
static double seconds = 3, loss = 0;
static struct client *all;
static const uint8_t *content;
static uint64_t size, bytes, blocks, files, wrong, errors, repeats, gaps;
static uint64_t seed = 0x9e3779b97f4a7c15ull;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double chance(void) { /* xorshift: 0 <= x < 1, the same in every run */
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (seed >> 11) / 9007199254740992.0;
}

static void die(const char *what) {
    fprintf(stderr, "tftp_load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void usage(void) {
    fprintf(stderr, "tftp_load -a ADDRESS -p PORT -n NAME -f FILE [-c CLIENTS] [-b BLKSIZE] [-w WINDOW] [-l LOSS] "
                    "[-t SECONDS] [-s A.B.C (the clients are A.B.C.1, .2, ...)] [-y (never sleep)]\n");
    exit(2);
}

static void say(struct client *c, const void *data, size_t length) {
    struct sockaddr *to = c->answered ? NULL : (struct sockaddr *)&c->server; /* connected by then */
    while (sendto(c->fd, data, length, 0, to, to ? sizeof c->server : 0) < 0)
        if (errno == ECONNREFUSED) continue; /* an old error of this socket, told now */
        else if (errno != EAGAIN && errno != EINTR) die("send");
}

static void ask(struct client *c) {
    char request[700];
    int length = 2 + sprintf(request + 2, "%s", name) + 1;
    request[0] = 0, request[1] = 1;
    length += sprintf(request + length, "octet") + 1;
    length += sprintf(request + length, "blksize") + 1;
    length += sprintf(request + length, "%d", blksize) + 1;
    if (window > 1) {
        length += sprintf(request + length, "windowsize") + 1;
        length += sprintf(request + length, "%d", window) + 1;
    }
    say(c, request, length);
    c->heard = now();
}

static void acknowledge(struct client *c, uint64_t block) {
    uint8_t packet[4] = {0, 4, (block >> 8) & 255, block & 255};
    say(c, packet, 4);
    c->since_ack = 0;
    c->heard = now();
}

/* A new socket for every file, as firmware does; with -s each client has its own address. */
static void begin(struct client *c, int epoll) {
    if (c->fd > 0) close(c->fd);
    int index = c - all, large = 4 << 20; /* a whole window must fit */
    *c = (struct client){.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), .expected = 1};
    if (c->fd < 0) die("socket");
    setsockopt(c->fd, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof large);
    struct sockaddr_in own = {.sin_family = AF_INET};
    if (spread) {
        char address[64];
        snprintf(address, sizeof address, "%.40s.%d", spread, index + 1);
        if (inet_pton(AF_INET, address, &own.sin_addr) != 1) usage();
        if (bind(c->fd, (struct sockaddr *)&own, sizeof own) < 0) die("bind");
    }
    c->server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &c->server.sin_addr);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) < 0) die("epoll_ctl");
    ask(c);
}

/* The server has chosen its port: from now on the kernel takes nothing from any other, and needs no look-up to send. */
static void meet(struct client *c, const struct sockaddr_in *from) {
    c->server.sin_port = from->sin_port, c->answered = 1;
    if (connect(c->fd, (struct sockaddr *)&c->server, sizeof c->server) < 0) die("connect");
}

/* 1 when the file is complete or the transfer is lost. */
static int take(struct client *c, const uint8_t *packet, int length, const struct sockaddr_in *from) {
    if (length < 4) return 0;
    int opcode = packet[0] << 8 | packet[1], block = packet[2] << 8 | packet[3];
    if (opcode == 5) {
        if (!errors++) fprintf(stderr, "tftp_load: the server says: %.*s\n", length - 4, packet + 4);
        return 1;
    }
    if (c->answered && from->sin_port != c->server.sin_port) return 0; /* came before we were connected */
    if (!c->answered && (opcode == 3 || opcode == 6)) meet(c, from);
    if (opcode == 6) {
        if (c->expected == 1) acknowledge(c, 0);
        return 0;
    }
    if (opcode != 3) return 0;
    if (loss > 0 && chance() < loss) return 0;
    uint16_t ahead = (uint16_t)(block - c->expected);
    if (ahead) {
        if (ahead < 32768 && !c->gap_told) c->gap_told = 1, gaps++, acknowledge(c, c->expected - 1);
        return 0;
    }
    uint64_t offset = (c->expected - 1) * (uint64_t)blksize;
    int due = offset + blksize <= size ? blksize : (int)(size - offset);
    if (length - 4 != due || memcmp(packet + 4, content + offset, due)) wrong++;
    bytes += due, blocks++, c->expected++, c->since_ack++, c->gap_told = 0;
    if (due < blksize) {
        acknowledge(c, c->expected - 1);
        files++;
        return 1;
    }
    if (c->since_ack >= (uint32_t)window) acknowledge(c, c->expected - 1);
    return 0;
}

/* A server that does not know the window option waits for every ACK: an OACK without it, or none, means window 1.
 * The client cannot guess; it looks at the OACK once. */
static void follow_option_ack(const uint8_t *packet, int length) {
    if (memmem(packet, length, "windowsize", 10) == NULL) window = 1;
}

int main(int argc, char **argv) {
    for (int option; (option = getopt(argc, argv, "a:p:n:f:c:b:w:l:t:s:y")) != -1;)
        switch (option) {
        case 'a': host = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 'n': name = optarg; break;
        case 'f': path = optarg; break;
        case 'c': clients = atoi(optarg); break;
        case 'b': blksize = atoi(optarg); break;
        case 'w': window = atoi(optarg); break;
        case 'l': loss = atof(optarg); break;
        case 't': seconds = atof(optarg); break;
        case 's': spread = optarg; break;
        case 'y': spin = 1; break;
        default: usage();
        }
    if (!path || clients < 1 || clients > 250 || blksize < 8 || blksize > LONGEST - 4 || strlen(name) > 500) usage();
    int file = open(path, O_RDONLY);
    struct stat found;
    if (file < 0 || fstat(file, &found) < 0) die(path);
    size = found.st_size;
    content = mmap(NULL, size ? size : 1, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (content == MAP_FAILED) die("mmap");
    all = calloc(clients, sizeof *all);
    int epoll = epoll_create1(0), asked_window = window, looked = 0;
    static uint8_t buffers[BATCH][LONGEST];
    static struct sockaddr_in from[BATCH];
    struct iovec parts[BATCH];
    struct mmsghdr messages[BATCH];
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){buffers[i], LONGEST};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &from[i], .msg_iov = &parts[i], .msg_iovlen = 1};
    }
    for (int i = 0; i < clients; i++) begin(&all[i], epoll);
    double began = now(), end = began + seconds, swept = began, moment;
    while ((moment = now()) < end) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll, events, 256, spin ? 0 : 20);
        for (int e = 0; e < ready; e++) {
            struct client *c = &all[events[e].data.u32];
            int most = window > 1 ? BATCH : 1; /* in lockstep a second look finds nothing */
            for (int i = 0; i < most; i++) messages[i].msg_hdr.msg_namelen = sizeof from[i];
            int got = recvmmsg(c->fd, messages, most, MSG_DONTWAIT, NULL);
            for (int i = 0; i < got; i++) {
                if (!looked && messages[i].msg_len > 2 && buffers[i][1] == 6) {
                    looked = 1;
                    follow_option_ack(buffers[i], messages[i].msg_len);
                }
                if (take(c, buffers[i], messages[i].msg_len, &from[i])) {
                    begin(c, epoll);
                    break;
                }
            }
        }
        if (moment - swept > 0.02) {
            swept = moment;
            for (int i = 0; i < clients; i++)
                if (moment - all[i].heard > WAIT_MS / 1000.0) {
                    repeats++;
                    if (all[i].answered) all[i].gap_told = 0, acknowledge(&all[i], all[i].expected - 1);
                    else ask(&all[i]);
                }
        }
    }
    double took = now() - began;
    for (int i = 0; i < clients; i++)
        if (all[i].answered) say(&all[i], "\0\5\0\0enough", 11); /* so that the server forgets us */
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("{\"bytes\": %llu, \"seconds\": %.3f, \"mb_per_s\": %.1f, \"blocks\": %llu, \"files\": %llu, \"wrong\": %llu, "
           "\"errors\": %llu, \"repeats\": %llu, \"gaps\": %llu, \"window\": %d, \"asked_window\": %d, "
           "\"cpu_share\": %.2f}\n",
           (unsigned long long)bytes, took, bytes / took / 1e6, (unsigned long long)blocks, (unsigned long long)files,
           (unsigned long long)wrong, (unsigned long long)errors, (unsigned long long)repeats,
           (unsigned long long)gaps, looked ? window : asked_window, asked_window, cpu / took);
    return wrong || errors || !bytes ? 1 : 0;
}
