/* HTTP load: N keep-alive connections ask for some seconds; one line of JSON comes out.
 *
 *   http_load -a ADDRESS -p PORT -u /PATH -f FILE [-c CONNECTIONS] [-t SECONDS]
 *       One file again and again. The first answer of a connection and every 16th after it are compared with FILE byte
 *       by byte; of the others the kernel counts the bytes and drops them (MSG_TRUNC, tcp(7)): a generator that looks at
 *       every byte takes longer than a good server, and would be what is measured.
 *   http_load -a ADDRESS -p PORT -U LIST [-c CONNECTIONS] [-t SECONDS | -1]
 *       LIST has one path per line (first byte '/'); they are asked in turn, over and over, by whichever connection is
 *       free; with -1 each of them once. Every answer must be 200 with a Content-Length and as many bytes.
 *       {"requests": N, "requests_per_s": X, "p50_ms": X, "p99_ms": X, "max_ms": X, "bytes": N, "seconds": X}
 *
 * A wrong answer ends the run with exit code 1. One thread, epoll, large reads. Loopback or a network namespace only.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { READ_AT_ONCE = 1 << 18, LONGEST_HEAD = 4096, LONGEST_PATH = 1000, COMPARED = 16 };

struct connection {
    int fd;
    char head[LONGEST_HEAD + 1];
    size_t head_length;
    int in_body;
    uint64_t offset, size; /* of the body */
    unsigned answers;
    double asked;
};

static const char *host = "127.0.0.1", *target = "/", *path, *list;
static int port = 80, connections = 16, once = 0;
static double seconds = 3;
static uint64_t size, bytes, answers, wrong;
static const uint8_t *content;
static char **targets;
static size_t target_count, next_target;
static float *latencies; /* seconds, one per answer of a list */
static size_t latency_room;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
    fprintf(stderr, "http_load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void ask(struct connection *c) {
    if (once && next_target == target_count) return; /* this connection has nothing left to do */
    char request[LONGEST_PATH + 200];
    const char *asked = list ? targets[next_target++ % target_count] : target;
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", asked, host);
    if (send(c->fd, request, length, MSG_NOSIGNAL) != length) die("send");
    c->head_length = 0, c->in_body = 0, c->offset = 0;
    if (list) c->asked = now();
}

static void finish(struct connection *c) {
    if (list) {
        if (answers == latency_room) {
            latency_room = latency_room ? latency_room * 2 : 1 << 16;
            if (!(latencies = realloc(latencies, latency_room * sizeof *latencies))) die("realloc");
        }
        latencies[answers] = now() - c->asked;
    }
    answers++, c->answers++;
    ask(c);
}

static int compared(const struct connection *c) {
    return content && c->answers % COMPARED == 0;
}

/* `data` NULL: the kernel dropped it. */
static void take(struct connection *c, const uint8_t *data, size_t length) {
    if (!c->in_body) {
        size_t before = c->head_length, room = LONGEST_HEAD - before, part = length < room ? length : room;
        memcpy(c->head + before, data, part);
        c->head[c->head_length += part] = 0;
        char *end = strstr(c->head, "\r\n\r\n");
        if (!end) {
            if (part == room) die("the head of the answer is too long");
            return;
        }
        if (strncmp(c->head, "HTTP/1.1 200", 12)) {
            fprintf(stderr, "http_load: not 200: %.40s\n", c->head);
            exit(1);
        }
        char *field = strcasestr(c->head, "\r\ncontent-length:");
        if (field && field < end) c->size = strtoull(field + 17, NULL, 10);
        if (!field || field > end || (content && c->size != size)) {
            fprintf(stderr, "http_load: Content-Length is %s\n", content ? "not the file's" : "missing");
            exit(1);
        }
        size_t used = end + 4 - c->head - before;
        data += used, length -= used, c->in_body = 1;
    }
    if (c->offset + length > c->size || (compared(c) && memcmp(content + c->offset, data, length))) wrong++;
    c->offset += length, bytes += length;
    if (c->offset >= c->size) finish(c);
}

static void read_file(void) {
    int file = open(path, O_RDONLY);
    struct stat found;
    if (file < 0 || fstat(file, &found) < 0 || !(size = found.st_size)) die(path);
    content = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (content == MAP_FAILED) die("mmap");
}

static void read_list(void) {
    FILE *file = fopen(list, "r");
    char *line = NULL;
    size_t room = 0, space = 0;
    if (!file) die(list);
    for (ssize_t length; (length = getline(&line, &room, file)) > 0;) {
        while (length && (line[length - 1] == '\n' || line[length - 1] == '\r')) line[--length] = 0;
        if (!length) continue;
        if (line[0] != '/' || length > LONGEST_PATH) {
            fprintf(stderr, "http_load: %s: a line is no path: %.60s\n", list, line);
            exit(2);
        }
        if (target_count == space && !(targets = realloc(targets, (space = space * 2 + 64) * sizeof *targets)))
            die("realloc");
        if (!(targets[target_count++] = strdup(line))) die("strdup");
    }
    fclose(file);
    if (!target_count) {
        fprintf(stderr, "http_load: %s is empty\n", list);
        exit(2);
    }
}

static int earlier(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void print_list_result(double took) {
    qsort(latencies, answers, sizeof *latencies, earlier);
    double p50 = answers ? latencies[answers / 2] * 1e3 : 0, p99 = answers ? latencies[answers * 99 / 100] * 1e3 : 0;
    printf("{\"requests\": %llu, \"requests_per_s\": %.1f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f, "
           "\"bytes\": %llu, \"seconds\": %.3f}\n",
           (unsigned long long)answers, answers / took, p50, p99, answers ? latencies[answers - 1] * 1e3 : 0,
           (unsigned long long)bytes, took);
}

int main(int argc, char **argv) {
    for (int option; (option = getopt(argc, argv, "a:p:u:U:f:c:t:1")) != -1;)
        switch (option) {
        case 'a': host = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 'u': target = optarg; break;
        case 'U': list = optarg; break;
        case 'f': path = optarg; break;
        case 'c': connections = atoi(optarg); break;
        case 't': seconds = atof(optarg); break;
        case '1': once = 1; break;
        default: path = list = NULL;
        }
    if (!path == !list || (once && !list) || connections < 1 || connections > 1000) {
        fprintf(stderr,
                "http_load -a ADDRESS -p PORT (-u /PATH -f FILE | -U LIST) [-c CONNECTIONS] [-t SECONDS | -1]\n");
        return 2;
    }
    if (list) read_list();
    else read_file();
    static uint8_t buffer[READ_AT_ONCE];
    struct connection *all = calloc(connections, sizeof *all);
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &server.sin_addr);
    int epoll = epoll_create1(0);
    for (int i = 0; i < connections; i++) {
        all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        if (all[i].fd < 0 || connect(all[i].fd, (struct sockaddr *)&server, sizeof server) < 0) die("connect");
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event) < 0) die("epoll_ctl");
        ask(&all[i]);
    }
    double began = now();
    while (once ? answers < target_count : now() - began < seconds) {
        struct epoll_event events[64];
        int ready = epoll_wait(epoll, events, 64, 20);
        for (int e = 0; e < ready; e++) {
            struct connection *c = &all[events[e].data.u32];
            int dropped = content && c->in_body && !compared(c);
            size_t wanted = dropped ? c->size - c->offset : sizeof buffer;
            ssize_t got = recv(c->fd, buffer, wanted, dropped ? MSG_DONTWAIT | MSG_TRUNC : MSG_DONTWAIT);
            if (got > 0) take(c, dropped ? NULL : buffer, got);
            else if (got == 0 || (errno != EAGAIN && errno != EINTR)) die("the server closed a connection");
        }
    }
    double took = now() - began;
    if (list) print_list_result(took);
    else
        printf("{\"bytes\": %llu, \"seconds\": %.3f, \"mb_per_s\": %.1f, \"files\": %llu, \"wrong\": %llu}\n",
               (unsigned long long)bytes, took, bytes / took / 1e6, (unsigned long long)answers,
               (unsigned long long)wrong);
    return wrong || !(list ? answers : bytes) ? 1 : 0;
}
