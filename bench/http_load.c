/* HTTP load: N keep-alive connections fetch one file again and again for some seconds; every byte is compared.
 *
 * One line of JSON comes out. One thread, epoll, large reads. Loopback or a network namespace only.
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

enum { READ_AT_ONCE = 1 << 18, LONGEST_HEAD = 4096 };

struct connection {
    int fd;
    char head[LONGEST_HEAD + 1];
    size_t head_length;
    int in_body;
    uint64_t offset; /* in the body */
};

static const char *host = "127.0.0.1", *target = "/", *path;
static int port = 80, connections = 16;
static double seconds = 3;
static uint64_t size, bytes, files, wrong;
static const uint8_t *content;

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
    char request[1200];
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, host);
    if (send(c->fd, request, length, MSG_NOSIGNAL) != length) die("send");
    c->head_length = 0, c->in_body = 0, c->offset = 0;
}

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
        if (!field || field > end || strtoull(field + 17, NULL, 10) != size) {
            fprintf(stderr, "http_load: Content-Length is not the file's\n");
            exit(1);
        }
        size_t used = end + 4 - c->head - before;
        data += used, length -= used, c->in_body = 1;
    }
    if (c->offset + length > size || memcmp(content + c->offset, data, length)) wrong++;
    c->offset += length, bytes += length;
    if (c->offset >= size) files++, ask(c);
}

int main(int argc, char **argv) {
    for (int option; (option = getopt(argc, argv, "a:p:u:f:c:t:")) != -1;)
        switch (option) {
        case 'a': host = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 'u': target = optarg; break;
        case 'f': path = optarg; break;
        case 'c': connections = atoi(optarg); break;
        case 't': seconds = atof(optarg); break;
        default: path = NULL;
        }
    if (!path || connections < 1 || connections > 1000) {
        fprintf(stderr, "http_load -a ADDRESS -p PORT -u /PATH -f FILE [-c CONNECTIONS] [-t SECONDS]\n");
        return 2;
    }
    int file = open(path, O_RDONLY);
    struct stat found;
    if (file < 0 || fstat(file, &found) < 0 || !(size = found.st_size)) die(path);
    content = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (content == MAP_FAILED) die("mmap");
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
    while (now() - began < seconds) {
        struct epoll_event events[64];
        int ready = epoll_wait(epoll, events, 64, 20);
        for (int e = 0; e < ready; e++) {
            struct connection *c = &all[events[e].data.u32];
            ssize_t got = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
            if (got > 0) take(c, buffer, got);
            else if (got == 0 || (errno != EAGAIN && errno != EINTR)) die("the server closed a connection");
        }
    }
    double took = now() - began;
    printf("{\"bytes\": %llu, \"seconds\": %.3f, \"mb_per_s\": %.1f, \"files\": %llu, \"wrong\": %llu}\n",
           (unsigned long long)bytes, took, bytes / took / 1e6, (unsigned long long)files, (unsigned long long)wrong);
    return wrong || !bytes ? 1 : 0;
}
