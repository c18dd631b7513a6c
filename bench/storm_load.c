/* Boot storm: machines switched on together walk from the DISCOVER to their answers; one line of JSON comes out.
 *
 *   storm_load -a SERVER -g GIADDR -l FOLDER [-n MACHINES] [-s SPREAD_SECONDS] [-t LIMIT_SECONDS]
 *       Machine i has the MAC 52:54:01:.. + i, the address 172.16.4.1 + i (the site's DHCP gave it) and is the host
 *       bench-<i>. Even ones have a BIOS ROM, odd ones UEFI. FOLDER holds the boot files as the server has them.
 *
 * Each does what firmware does: DISCOVER through a relay, port 4011 where the offer says so, the boot file by TFTP in
 * lockstep (UEFI asks for its size first), then as iPXE another DISCOVER, the menu by HTTP and, as the installer that
 * the menu names, the answers. What is lost is asked for again after 4, 8, 16, 32 s (DISCOVER), 1 to 4 s (port 4011,
 * TFTP), as long as Retry-After says (HTTP 503). Every byte of a boot file is compared, the answers must be the
 * host's own. A machine that is not at its answers in time, or was refused on its way, is lost; ten of them are told.
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

enum { MOST = 10000, LONGEST = 1500, FIXED = 240, BLKSIZE = 1456, ROOM = 1 << 16, RELAY = MOST };
enum stage { OFF, ROM, BINL, PROBE, LOADER, IPXE, MENU, ANSWERS, THERE, LOST };
static const char *const stages[] = {"off", "DISCOVER", "port 4011", "file size", "boot file", "iPXE's DISCOVER",
                                     "menu", "answers", "there", "lost"};

struct machine {
    enum stage stage;
    int fd, tries, sent_length;
    uint8_t sent[600]; /* the last datagram, to be sent again */
    struct sockaddr_in to;
    uint32_t xid, block; /* block: the one we wait for; 0: the answer to our request */
    double on, there, again;
    char file[256], path[256], *text;
    size_t length, total; /* of the HTTP answer so far; head and body, 0 as long as unknown */
};

static struct machine *all;
static const char *host = "127.0.0.1", *relay_address, *folder;
static int machines = 2000, relay, epoll, left;
static double spread = 5, limit = 60;
static struct in_addr server, giaddr;
static uint64_t repeats[LOST + 1], retry_later, tftp_bytes;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
    fprintf(stderr, "storm_load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static int number_of(const struct machine *m) { return m - all; }
static int is_uefi(const struct machine *m) { return number_of(m) & 1; }

static struct in_addr address_of(const struct machine *m) {
    return (struct in_addr){htonl((172u << 24 | 16 << 16 | 4 << 8 | 1) + number_of(m))};
}

static void hang_up(struct machine *m) {
    if (m->fd > 0) close(m->fd);
    m->fd = 0;
}

static void lose(struct machine *m, const char *why) {
    static int told;
    if (told++ < 10) fprintf(stderr, "storm_load: machine %d lost at %s: %s\n", number_of(m), stages[m->stage], why);
    hang_up(m);
    m->stage = LOST, left--;
}

/* A socket at the machine's own address. */
static void open_socket(struct machine *m, int type, int port) {
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = address_of(m)};
    hang_up(m);
    m->fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);
    if (m->fd < 0 || bind(m->fd, (struct sockaddr *)&own, sizeof own) < 0) die("socket of a machine");
    struct epoll_event event = {.events = type == SOCK_STREAM ? EPOLLIN | EPOLLOUT : EPOLLIN,
                                .data.u32 = number_of(m)};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, m->fd, &event) < 0) die("epoll_ctl");
}

/* How long the n-th wait of a stage lasts; 0: no more tries. */
static double patience(enum stage stage, int tries) {
    static const double dhcp[] = {4, 8, 16, 32}, others[] = {1, 2, 3, 4, 4, 4};
    if (stage == ROM || stage == IPXE) return tries < 4 ? dhcp[tries] : 0;
    return tries < 6 ? others[tries] : 0;
}

static void send_again(struct machine *m) {
    int by_relay = m->stage == ROM || m->stage == IPXE;
    m->again = now() + patience(m->stage, m->tries);
    if (sendto(by_relay ? relay : m->fd, m->sent, m->sent_length, 0, (struct sockaddr *)&m->to, sizeof m->to) < 0 &&
        errno != EAGAIN && errno != ECONNREFUSED)
        die("send");
}

static void say(struct machine *m, int length) { m->sent_length = length, m->tries = 0, send_again(m); }

/* ------------------------------------------------------------------------------------------------ DHCP */

static uint8_t *option(uint8_t *at, int code, int length, const void *value) {
    *at++ = code, *at++ = length;
    memcpy(at, value, length);
    return at + length;
}

static void ask_dhcp(struct machine *m, enum stage stage) {
    uint8_t *packet = m->sent, *at = packet + FIXED, uuid[17] = {0}, kind = stage == BINL ? 3 : 1;
    uint32_t number = number_of(m);
    uint8_t mac[6] = {0x52, 0x54, 1, number >> 16, number >> 8, number};
    m->stage = stage, m->xid = (stage << 24) + number + 1;
    memset(packet, 0, sizeof m->sent);
    packet[0] = 1, packet[1] = 1, packet[2] = 6;
    memcpy(packet + 4, &m->xid, 4);
    memcpy(packet + 28, mac, 6);
    memcpy(packet + 236, "\x63\x82\x53\x63", 4);
    if (stage == BINL) {
        struct in_addr own = address_of(m);
        memcpy(packet + 12, &own, 4);
        open_socket(m, SOCK_DGRAM, 68);
    } else {
        packet[3] = 1;
        memcpy(packet + 24, &giaddr, 4);
    }
    memcpy(uuid + 11, mac, 6);
    at = option(at, 53, 1, &kind);
    at = option(at, 57, 2, "\x05\xc0");
    at = option(at, 55, 7, "\x01\x03\x06\x0f\x36\x42\x43");
    at = option(at, 97, 17, uuid);
    at = option(at, 93, 2, is_uefi(m) ? "\0\7" : "\0\0");
    at = option(at, 94, 3, "\x01\x02\x01");
    at = option(at, 60, 32, is_uefi(m) ? "PXEClient:Arch:00007:UNDI:003016" : "PXEClient:Arch:00000:UNDI:002001");
    if (stage == IPXE) at = option(at, 77, 4, "iPXE"), at = option(at, 175, 3, "\x21\x01\x01");
    *at++ = 255;
    m->to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(stage == BINL ? 4011 : 67), .sin_addr = server};
    say(m, at - packet < 300 ? 300 : at - packet);
}

static void begin_file(struct machine *m, enum stage stage);
static void begin_http(struct machine *m, enum stage stage);

/* The boot file that an answer names: option 67, or the field of the header. Empty: none. */
static void boot_file(const uint8_t *packet, int length, char *file) {
    snprintf(file, 128, "%.127s", (const char *)packet + 108);
    for (int at = FIXED; at + 1 < length && packet[at] != 255; at += packet[at] ? 2 + packet[at + 1] : 1)
        if (packet[at] == 67 && at + 2 + packet[at + 1] <= length)
            snprintf(file, 256, "%.*s", packet[at + 1], (const char *)packet + at + 2);
}

static void take_dhcp(struct machine *m, const uint8_t *packet) {
    int length = LONGEST;
    if (memcmp(packet + 4, &m->xid, 4)) return; /* an answer to what we no longer ask */
    boot_file(packet, length, m->file);
    if (m->stage == IPXE) {
        char *path = strncmp(m->file, "http://", 7) ? NULL : strchr(m->file + 7, '/');
        if (!path) return lose(m, "the offer to iPXE names no URL");
        snprintf(m->path, sizeof m->path, "%s", path);
        begin_http(m, MENU);
    } else if (*m->file) begin_file(m, is_uefi(m) ? PROBE : LOADER);
    else if (m->stage == ROM && !memcmp(packet + 20, &server, 4)) ask_dhcp(m, BINL);
    else lose(m, "no boot file");
}

static void read_relay(void) {
    uint8_t packet[LONGEST];
    for (;;) {
        memset(packet, 0, sizeof packet);
        ssize_t got = recv(relay, packet, sizeof packet, MSG_DONTWAIT);
        if (got < 0) return;
        uint32_t number = packet[31] << 16 | packet[32] << 8 | packet[33];
        if (got < FIXED || packet[0] != 2 || number >= (uint32_t)machines) continue;
        struct machine *m = &all[number];
        if (m->stage == ROM || m->stage == IPXE) take_dhcp(m, packet);
    }
}

/* ------------------------------------------------------------------------------------------------ TFTP */

struct content {
    char name[256];
    const uint8_t *bytes;
    size_t size;
};

static const struct content *content_of(const char *file) {
    static struct content known[16];
    static int count;
    const char *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file;
    for (int i = 0; i < count; i++)
        if (!strcmp(known[i].name, name)) return &known[i];
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_RDONLY);
    struct stat found;
    if (fd < 0 || fstat(fd, &found) < 0 || count == 16) die(path);
    struct content *c = &known[count++];
    snprintf(c->name, sizeof c->name, "%s", name);
    c->size = found.st_size, c->bytes = mmap(NULL, c->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (c->bytes == MAP_FAILED) die("mmap");
    return c;
}

static void begin_file(struct machine *m, enum stage stage) {
    m->stage = stage, m->block = 0;
    open_socket(m, SOCK_DGRAM, 0);
    m->to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(69), .sin_addr = server};
    uint8_t *at = m->sent + 2;
    m->sent[0] = 0, m->sent[1] = 1;
    at += sprintf((char *)at, "%.200s", m->file) + 1, at += sprintf((char *)at, "octet") + 1;
    at += sprintf((char *)at, "tsize") + 1, at += sprintf((char *)at, "0") + 1;
    at += sprintf((char *)at, "blksize") + 1, at += sprintf((char *)at, "%d", BLKSIZE) + 1;
    say(m, at - m->sent);
}

static void acknowledge(struct machine *m) {
    uint8_t packet[4] = {0, 4, m->block >> 8, m->block};
    memcpy(m->sent, packet, 4);
    m->block++;
    say(m, 4);
}

static void take_tftp(struct machine *m, const uint8_t *packet, int length, const struct sockaddr_in *from) {
    if (length < 4 || from->sin_addr.s_addr != server.s_addr) return;
    int opcode = packet[1];
    if (opcode == 5) return lose(m, (const char *)packet + 4);
    if (m->block && from->sin_port != m->to.sin_port) return;
    if (opcode == 6 && m->block == 0) {
        m->to = *from;
        if (m->stage == PROBE) {
            memcpy(m->sent, "\0\5\0\10enough", 11);
            say(m, 11);
            begin_file(m, LOADER);
        } else acknowledge(m);
    }
    if (opcode != 3 || (uint16_t)m->block != (packet[2] << 8 | packet[3])) return;
    const struct content *c = content_of(m->file);
    size_t offset = (m->block - 1) * (size_t)BLKSIZE, due = c->size - offset < BLKSIZE ? c->size - offset : BLKSIZE;
    if (offset > c->size || (size_t)length - 4 != due || memcmp(packet + 4, c->bytes + offset, due))
        return lose(m, "the boot file is another one than in the folder");
    tftp_bytes += due;
    acknowledge(m);
    if (due < BLKSIZE) hang_up(m), ask_dhcp(m, IPXE);
}

static void read_datagram(struct machine *m) {
    uint8_t packet[LONGEST + 1];
    struct sockaddr_in from;
    socklen_t room = sizeof from;
    memset(packet, 0, sizeof packet);
    ssize_t got = recvfrom(m->fd, packet, LONGEST, MSG_DONTWAIT, (struct sockaddr *)&from, &room);
    if (got < 0) return;
    if (m->stage == BINL && got >= FIXED) take_dhcp(m, packet);
    else if (m->stage == PROBE || m->stage == LOADER) take_tftp(m, packet, got, &from);
}

/* ------------------------------------------------------------------------------------------------ HTTP */

static void begin_http(struct machine *m, enum stage stage) {
    m->stage = stage, m->length = m->total = 0, m->again = 0;
    if (!m->text && !(m->text = malloc(ROOM))) die("malloc");
    open_socket(m, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(8080), .sin_addr = server};
    if (connect(m->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) die("connect");
}

static void ask_http(struct machine *m) {
    char request[400];
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nConnection: keep-alive\r\nHost: %s:8080\r\n\r\n",
                          m->path, host);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number_of(m)};
    epoll_ctl(epoll, EPOLL_CTL_MOD, m->fd, &event);
    if (send(m->fd, request, length, MSG_NOSIGNAL) != length) lose(m, "the connection was refused");
}

static void come_back_later(struct machine *m) {
    const char *field = strcasestr(m->text, "\r\nretry-after:");
    if (!field || m->tries++ > 10) return lose(m, "503 for good");
    hang_up(m);
    retry_later++;
    m->again = now() + atof(field + 14);
}

static void take_menu(struct machine *m) {
    char *url = strstr(m->text, " url=http://"), *path = url ? strchr(url + 12, '/') : NULL;
    if (!path) return lose(m, "the menu names no answers");
    snprintf(m->path, sizeof m->path, "%.*s", (int)strcspn(path, " \r\n"), path);
    m->tries = 0;
    begin_http(m, ANSWERS);
}

static void take_answers(struct machine *m) {
    char name[60];
    snprintf(name, sizeof name, "netcfg/get_hostname string bench-%05d\n", number_of(m));
    if (!strstr(m->text, name)) return lose(m, "these answers are another host's");
    hang_up(m);
    free(m->text);
    m->stage = THERE, m->there = now(), left--;
}

static void read_http(struct machine *m) {
    ssize_t got = recv(m->fd, m->text + m->length, ROOM - 1 - m->length, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) return lose(m, got ? strerror(errno) : "the server closed the connection or said too much");
    m->text[m->length += got] = 0;
    char *end = strstr(m->text, "\r\n\r\n"), *field = strcasestr(m->text, "\r\ncontent-length:");
    if (!end) return;
    if (!strncmp(m->text, "HTTP/1.1 503", 12)) return come_back_later(m);
    if (strncmp(m->text, "HTTP/1.1 200", 12) || !field || field > end) return lose(m, "not 200 with a length");
    m->total = end + 4 - m->text + strtoull(field + 17, NULL, 10);
    if (m->length < m->total) return;
    if (m->stage == MENU) take_menu(m);
    else take_answers(m);
}

/* ------------------------------------------------------------------------------------------------ all of them */

static void step(struct machine *m, double moment) {
    if (m->stage == OFF && moment >= m->on) ask_dhcp(m, ROM);
    else if ((m->stage == MENU || m->stage == ANSWERS) && m->again && moment >= m->again) begin_http(m, m->stage);
    else if (m->stage >= ROM && m->stage <= IPXE && moment >= m->again) {
        if (!patience(m->stage, ++m->tries)) return lose(m, "no answer");
        repeats[m->stage]++;
        send_again(m);
    }
}

static void serve_event(const struct epoll_event *event) {
    if (event->data.u32 == RELAY) return read_relay();
    struct machine *m = &all[event->data.u32];
    if (!m->fd) return;
    if (m->stage < MENU) read_datagram(m);
    else if (event->events & EPOLLIN) read_http(m);
    else if (event->events & (EPOLLERR | EPOLLHUP)) lose(m, "the connection was refused");
    else if (event->events & EPOLLOUT) ask_http(m);
}

static void set_up(void) {
    int large = 8 << 20;
    struct rlimit files = {2 * MOST, 2 * MOST};
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(67)};
    if (setrlimit(RLIMIT_NOFILE, &files) < 0) die("setrlimit");
    if (inet_pton(AF_INET, host, &server) != 1 || inet_pton(AF_INET, relay_address, &giaddr) != 1) die("address");
    own.sin_addr = giaddr;
    epoll = epoll_create1(0), relay = socket(AF_INET, SOCK_DGRAM, 0), all = calloc(machines, sizeof *all);
    setsockopt(relay, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof large);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = RELAY};
    if (!all || bind(relay, (struct sockaddr *)&own, sizeof own) < 0) die("bind to the relay's port 67");
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, relay, &event) < 0) die("epoll_ctl");
}

static int earlier(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_result(double took) {
    double *times = calloc(machines + 1, sizeof *times);
    int there = 0;
    for (int i = 0; i < machines; i++) {
        struct machine *m = &all[i];
        if (m->stage == THERE) times[there++] = m->there - m->on;
        else if (m->stage != LOST) lose(m, "its time is over");
    }
    qsort(times, there, sizeof *times, earlier);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("{\"machines\": %d, \"there\": %d, \"lost\": %d, \"seconds\": %.1f, \"p50_s\": %.2f, \"p99_s\": %.2f, "
           "\"max_s\": %.2f, \"tftp_bytes\": %llu, \"dhcp_repeats\": %llu, \"binl_repeats\": %llu, "
           "\"tftp_repeats\": %llu, \"retry_later\": %llu, \"cpu_share\": %.2f}\n",
           machines, there, machines - there, took, there ? times[there / 2] : 0, there ? times[there * 99 / 100] : 0,
           there ? times[there - 1] : 0, (unsigned long long)tftp_bytes,
           (unsigned long long)(repeats[ROM] + repeats[IPXE]), (unsigned long long)repeats[BINL],
           (unsigned long long)(repeats[PROBE] + repeats[LOADER]), (unsigned long long)retry_later, cpu / took);
}

int main(int argc, char **argv) {
    for (int given; (given = getopt(argc, argv, "a:g:l:n:s:t:")) != -1;)
        switch (given) {
        case 'a': host = optarg; break;
        case 'g': relay_address = optarg; break;
        case 'l': folder = optarg; break;
        case 'n': machines = atoi(optarg); break;
        case 's': spread = atof(optarg); break;
        case 't': limit = atof(optarg); break;
        default: folder = NULL;
        }
    if (!relay_address || !folder || machines < 1 || machines >= MOST) {
        fprintf(stderr, "storm_load -a SERVER -g GIADDR -l FOLDER [-n MACHINES] [-s SPREAD_SECONDS] "
                        "[-t LIMIT_SECONDS]\n");
        return 2;
    }
    set_up();
    double began = now(), swept = 0, moment;
    for (int i = 0; i < machines; i++) all[i].on = began + spread * i / machines;
    for (left = machines; left && (moment = now()) - began < limit;) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll, events, 256, 10);
        for (int e = 0; e < ready; e++) serve_event(&events[e]);
        if (moment - swept < 0.01) continue;
        swept = moment;
        for (int i = 0; i < machines; i++) step(&all[i], moment);
    }
    print_result(now() - began);
    return 0;
}
