/* DHCP load: many clients behind one relay ask a server as fast as it answers, or at a fixed rate; one line of JSON.
 *
 *   dhcp_load -a SERVER -g GIADDR [-n CLIENTS] [-f FIRST] [-w WINDOW | -r PER_SECOND] [-t SECONDS] [-1] [-p]
 *             [-P PORT]
 *       Client i has the MAC 52:54:01:.. + FIRST + i. Without -p an exchange is DISCOVER, OFFER, REQUEST, ACK, as any
 *       client does it; with -p it is the DISCOVER of a PXE ROM and the offer of a proxy. -w: so many exchanges are
 *       under way at a time (closed loop). -r: so many begin per second, whatever the server does (open loop); their
 *       time counts from when they were due. -1: every client asks once, then the run ends. -P: the server's port, for
 *       tests; the relay then takes any port instead of 67.
 *
 * Every answer is checked: xid, MAC, server, the ACK's address is the offered one, no address for two clients, a proxy
 * gives no address but a boot file or the way to port 4011. What is not answered in two seconds is dropped: the exchange
 * is over and counted. Exit code 1: something was wrong, or nothing came. A relay's datagrams (giaddr) are what all
 * servers take, and answer by unicast.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, LONGEST = 1500, SLOTS = 1 << 16, ADDRESSES = 1 << 20, FIXED = 240 };
enum { DISCOVER = 1, OFFER = 2, REQUEST = 3, ACK = 5 };

struct exchange {
    uint32_t xid; /* 0: the slot is free */
    uint32_t client;
    int state; /* what we wait for: OFFER or ACK */
    double due, sent;
    struct in_addr offered, server;
};

static const char *host = "127.0.0.1", *relay = NULL;
static uint32_t clients = 1000, first = 0, window = 64;
static int proxy = 0, once = 0, wire, port = 0;
static double rate = 0, seconds = 3, patience = 2;
static struct sockaddr_in server;
static struct in_addr giaddr;
static struct exchange *slots;
static uint32_t *owner, *address_of; /* by the address's last 20 bits: client + 1; by client: address or 0 */
static uint32_t next_client, under_way, generation;
static uint64_t begun, finished, dropped, wrong, strays;
static float *latencies;
static size_t latency_room;
static uint32_t free_slots[SLOTS], free_count;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
    fprintf(stderr, "dhcp_load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void complain(const struct exchange *e, const char *what) {
    if (wrong++ < 5) fprintf(stderr, "dhcp_load: client %u: %s\n", first + e->client, what);
}

static void mac_of(uint32_t client, uint8_t *mac) {
    uint32_t number = first + client;
    uint8_t bytes[6] = {0x52, 0x54, 1, number >> 16, number >> 8, number};
    memcpy(mac, bytes, 6);
}

/* What is sent waits here until the batch is full or there is nothing else to do. */
static uint8_t outgoing[BATCH][LONGEST];
static struct iovec out_parts[BATCH];
static struct mmsghdr out[BATCH];
static int out_count;

static void flush(void) {
    for (int sent = 0; sent < out_count;) {
        int n = sendmmsg(wire, out + sent, out_count - sent, 0);
        if (n > 0) sent += n;
        else if (errno != EAGAIN && errno != EINTR && errno != ECONNREFUSED) die("send");
    }
    out_count = 0;
}

static uint8_t *option(uint8_t *at, int code, int length, const void *value) {
    *at++ = code, *at++ = length;
    memcpy(at, value, length);
    return at + length;
}

static void ask(struct exchange *e, int kind) {
    uint8_t *packet = outgoing[out_count], *at = packet + FIXED, type = kind;
    memset(packet, 0, FIXED + 160);
    packet[0] = 1, packet[1] = 1, packet[2] = 6, packet[3] = 1; /* BOOTREQUEST, Ethernet, one hop */
    memcpy(packet + 4, &e->xid, 4);
    memcpy(packet + 24, &giaddr, 4);
    mac_of(e->client, packet + 28);
    memcpy(packet + 236, "\x63\x82\x53\x63", 4);
    at = option(at, 53, 1, &type);
    if (kind == REQUEST) {
        at = option(at, 54, 4, &e->server);
        at = option(at, 50, 4, &e->offered);
    }
    at = option(at, 57, 2, "\x05\xc0");
    at = option(at, 55, 7, "\x01\x03\x06\x0f\x36\x42\x43");
    if (proxy) {
        uint8_t uuid[17] = {0};
        mac_of(e->client, uuid + 11);
        at = option(at, 97, 17, uuid);
        at = option(at, 93, 2, "\0\0");
        at = option(at, 94, 3, "\x01\x02\x01");
        at = option(at, 60, 32, "PXEClient:Arch:00000:UNDI:002001");
    }
    *at++ = 255;
    out_parts[out_count].iov_len = at - packet < 300 ? 300 : at - packet;
    e->sent = now();
    if (++out_count == BATCH) flush();
}

static void begin(double due) {
    begun++;
    if (!free_count) { /* only an open loop gets here, far behind */
        dropped++;
        return;
    }
    uint32_t slot = free_slots[--free_count];
    struct exchange *e = &slots[slot];
    *e = (struct exchange){.xid = (++generation << 16 | slot), .client = next_client, .state = OFFER, .due = due};
    if (!e->xid) e->xid = 1 << 16 | slot;
    next_client = (next_client + 1) % clients;
    under_way++;
    ask(e, DISCOVER);
}

static void end(struct exchange *e) {
    e->xid = 0, under_way--;
    free_slots[free_count++] = e - slots;
}

static void finish(struct exchange *e) {
    if (finished == latency_room) {
        latency_room = latency_room ? latency_room * 2 : 1 << 16;
        if (!(latencies = realloc(latencies, latency_room * sizeof *latencies))) die("realloc");
    }
    latencies[finished++] = now() - e->due;
    end(e);
}

static const uint8_t *find(const uint8_t *packet, int length, int code, int least) {
    for (int at = FIXED; at + 1 < length && packet[at] != 255;) {
        if (packet[at] == 0) at++;
        else if (at + 2 + packet[at + 1] > length) break;
        else if (packet[at] == code) return packet[at + 1] >= least ? packet + at + 2 : NULL;
        else at += 2 + packet[at + 1];
    }
    return NULL;
}

static void take_address(struct exchange *e, struct in_addr address) {
    uint32_t index = ntohl(address.s_addr) % ADDRESSES, mine = e->client + 1, before = address_of[e->client];
    if (owner[index] && owner[index] != mine) complain(e, "was given another client's address");
    if (before && before != address.s_addr) owner[ntohl(before) % ADDRESSES] = 0;
    owner[index] = mine, address_of[e->client] = address.s_addr;
}

static void take(const uint8_t *packet, int length, const struct sockaddr_in *from) {
    uint32_t xid;
    uint8_t mac[6];
    if (length < FIXED || packet[0] != 2) {
        strays++;
        return;
    }
    memcpy(&xid, packet + 4, 4);
    struct exchange *e = &slots[xid % SLOTS];
    const uint8_t *kind = find(packet, length, 53, 1), *id = find(packet, length, 54, 4);
    if (!xid || e->xid != xid || !kind || *kind != e->state) { /* too late, or told twice; a NAK ends as a drop */
        strays++;
        return;
    }
    struct in_addr given;
    memcpy(&given, packet + 16, 4);
    mac_of(e->client, mac);
    if (memcmp(packet + 28, mac, 6)) complain(e, "the answer has another MAC");
    if (from->sin_addr.s_addr != server.sin_addr.s_addr || !id) complain(e, "the answer names no server");
    if (proxy) {
        const uint8_t *class = find(packet, length, 60, 9);
        if (given.s_addr) complain(e, "a proxy gave an address");
        if (!class || memcmp(class, "PXEClient", 9)) complain(e, "the offer is none for PXE");
        if (!packet[108] && !find(packet, length, 67, 1) && memcmp(packet + 20, &server.sin_addr, 4))
            complain(e, "neither a boot file nor the way to port 4011");
        finish(e);
        return;
    }
    if (!given.s_addr) complain(e, "no address");
    if (e->state == OFFER) {
        e->offered = given, e->state = ACK;
        if (id) memcpy(&e->server, id, 4);
        ask(e, REQUEST);
        return;
    }
    if (given.s_addr != e->offered.s_addr) complain(e, "the ACK's address is not the offered one");
    take_address(e, given);
    finish(e);
}

static void receive(void) {
    static uint8_t buffers[BATCH][LONGEST];
    static struct sockaddr_in from[BATCH];
    struct iovec parts[BATCH];
    struct mmsghdr messages[BATCH];
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){buffers[i], LONGEST};
        messages[i] = (struct mmsghdr){.msg_hdr = {&from[i], sizeof from[i], &parts[i], 1, NULL, 0, 0}};
    }
    int got = recvmmsg(wire, messages, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < got; i++) take(buffers[i], messages[i].msg_len, &from[i]);
}

static void give_up_waiting(double moment) {
    for (uint32_t i = 0; i < SLOTS; i++)
        if (slots[i].xid && moment - slots[i].sent > patience) dropped++, end(&slots[i]);
}

static int earlier(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void print_result(double took) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    qsort(latencies, finished, sizeof *latencies, earlier);
    printf("{\"exchanges\": %llu, \"per_s\": %.1f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f, "
           "\"dropped\": %llu, \"wrong\": %llu, \"strays\": %llu, \"seconds\": %.3f, \"cpu_share\": %.2f}\n",
           (unsigned long long)finished, finished / took, finished ? latencies[finished / 2] * 1e3 : 0,
           finished ? latencies[finished * 99 / 100] * 1e3 : 0, finished ? latencies[finished - 1] * 1e3 : 0,
           (unsigned long long)dropped, (unsigned long long)wrong, (unsigned long long)strays, took, cpu / took);
}

static void set_up(void) {
    int large = 8 << 20;
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port ? 0 : 67)};
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port ? port : 67)};
    if (inet_pton(AF_INET, host, &server.sin_addr) != 1 || inet_pton(AF_INET, relay, &own.sin_addr) != 1) die("address");
    giaddr = own.sin_addr;
    wire = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(wire, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof large);
    if (wire < 0 || bind(wire, (struct sockaddr *)&own, sizeof own) < 0) die("bind to the relay's port");
    slots = calloc(SLOTS, sizeof *slots), owner = calloc(ADDRESSES, sizeof *owner);
    address_of = calloc(clients, sizeof *address_of);
    if (!slots || !owner || !address_of) die("calloc");
    for (int i = 0; i < BATCH; i++) {
        out_parts[i] = (struct iovec){outgoing[i], 0};
        out[i].msg_hdr = (struct msghdr){.msg_name = &server, .msg_namelen = sizeof server, .msg_iov = &out_parts[i],
                                         .msg_iovlen = 1};
    }
    for (uint32_t i = 0; i < SLOTS; i++) free_slots[free_count++] = SLOTS - 1 - i;
}

int main(int argc, char **argv) {
    for (int given; (given = getopt(argc, argv, "a:g:n:f:w:r:t:1pP:")) != -1;)
        switch (given) {
        case 'a': host = optarg; break;
        case 'g': relay = optarg; break;
        case 'n': clients = atoi(optarg); break;
        case 'f': first = atoi(optarg); break;
        case 'w': window = atoi(optarg); break;
        case 'r': rate = atof(optarg); break;
        case 't': seconds = atof(optarg); break;
        case '1': once = 1; break;
        case 'p': proxy = 1; break;
        case 'P': port = atoi(optarg); break;
        default: relay = NULL;
        }
    if (!relay || !clients || clients > ADDRESSES || !window || window > SLOTS) {
        fprintf(stderr, "dhcp_load -a SERVER -g GIADDR [-n CLIENTS] [-f FIRST] [-w WINDOW | -r PER_SECOND] "
                        "[-t SECONDS] [-1] [-p] [-P PORT]\n");
        return 2;
    }
    set_up();
    double began = now(), moment = began, swept = began, end_at = began + seconds, last = began;
    for (;;) {
        int may_begin = once ? begun < clients : moment < end_at;
        if (rate > 0)
            for (; may_begin && began + begun / rate <= moment; may_begin = once ? begun < clients : 1)
                begin(began + begun / rate);
        else
            for (; may_begin && under_way < window; may_begin = once ? begun < clients : 1) begin(now());
        flush();
        if (!may_begin && !under_way) break;
        struct pollfd ready = {.fd = wire, .events = POLLIN};
        uint64_t before = finished;
        if (poll(&ready, 1, rate > 0 ? 1 : 20) > 0) receive();
        moment = now();
        if (finished != before) last = moment;
        if (moment - swept > 0.1) swept = moment, give_up_waiting(moment);
    }
    /* The tail of a timed run (exchanges that began before its end) belongs to it; waiting for the dropped does not. */
    if (!finished) last = moment;
    print_result(last - began > seconds || once ? last - began : seconds);
    return wrong || !finished ? 1 : 0;
}
