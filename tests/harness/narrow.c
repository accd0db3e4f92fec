/* A narrow link and the address translator at its end: what comes out of a tun interface, of packets between a site and the rest of the
   world, goes in again with the one address that the site has outside, one after another at so many bits a second, and so much later.

   narrow TUN OUTSIDE_ADDRESS BITS_A_SECOND DELAY_US QUEUE_BYTES

   Who is inside begins; who is outside is heard only where he was spoken to, from the address and port that were. A queue that is full
   loses what comes next. Says "ready" when the interface is there, and for each line on its standard input how many bytes have crossed,
   from the site, to it, and were lost. Ends with its standard input. TCP and UDP over IPv4, whole packets; all else is lost. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { PACKET_BYTES_MAX = 65536, UNDER_WAY_MAX = 16384, TALKS_MAX = 16384, FIRST_PORT = 20000, UP = 0, DOWN = 1 };

/* Somebody inside and somebody outside. Its place in the table is its port at the outside address. */
struct talk {
  uint8_t protocol;
  uint32_t inside, outside;
  uint16_t inside_port, outside_port;
};

struct packet {
  int64_t due;
  size_t length;
  unsigned char *bytes;
};

struct way {
  struct packet packets[UNDER_WAY_MAX];
  unsigned first, count;
  /* When the last of them has left the queue. */
  int64_t busy_until;
  uint64_t crossed;
};

static struct talk talks[TALKS_MAX];
static unsigned talks_count;
static struct way ways[2];
static uint64_t lost;
static int64_t bits_a_second, delay, queue_bytes;
static uint32_t own;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

static int tun(const char *name) {
  int file = open("/dev/net/tun", O_RDWR);
  if (file < 0) fail("/dev/net/tun");
  struct ifreq wanted = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  strncpy(wanted.ifr_name, name, IFNAMSIZ - 1);
  if (ioctl(file, TUNSETIFF, &wanted)) fail("TUNSETIFF");
  return file;
}

static uint32_t sum(const unsigned char *bytes, size_t length, uint32_t so_far) {
  for (size_t i = 0; i + 1 < length; i += 2) so_far += (uint32_t)bytes[i] << 8 | bytes[i + 1];
  if (length % 2) so_far += (uint32_t)bytes[length - 1] << 8;
  return so_far;
}

static uint16_t folded(uint32_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return htons((uint16_t)~sum);
}

/* The port of a talk that somebody inside has, or begins. */
static int port_of(const struct talk *wanted) {
  for (unsigned i = 0; i < talks_count; i++)
    if (!memcmp(&talks[i], wanted, sizeof *wanted)) return FIRST_PORT + (int)i;
  if (talks_count == TALKS_MAX) return -1;
  talks[talks_count] = *wanted;
  return FIRST_PORT + (int)talks_count++;
}

/* Gives a packet the addresses that it has at the other side; says which way it goes, or -1 for nowhere. */
static int translate(unsigned char *bytes, size_t length) {
  struct iphdr *ip = (struct iphdr *)bytes;
  if (length < sizeof *ip || ip->version != 4 || ntohs(ip->tot_len) != length || ip->frag_off & htons(0x3fff)) return -1;
  size_t head = (size_t)ip->ihl * 4, least = ip->protocol == IPPROTO_TCP ? sizeof(struct tcphdr) : sizeof(struct udphdr);
  if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP) return -1;
  if (head < sizeof *ip || length < head + least) return -1;
  /* Both begin with the ports. */
  uint16_t *ports = (uint16_t *)(bytes + head);
  int way;
  if (ip->daddr != own) {
    struct talk talk;
    memset(&talk, 0, sizeof talk);
    talk.protocol = ip->protocol;
    talk.inside = ip->saddr, talk.inside_port = ports[0], talk.outside = ip->daddr, talk.outside_port = ports[1];
    int port = port_of(&talk);
    if (port < 0) return -1;
    ip->saddr = own, ports[0] = htons((uint16_t)port), way = UP;
  } else {
    unsigned place = (unsigned)ntohs(ports[1]) - FIRST_PORT;
    if (place >= talks_count) return -1;
    struct talk *talk = &talks[place];
    if (talk->protocol != ip->protocol || talk->outside != ip->saddr || talk->outside_port != ports[0]) return -1;
    ip->daddr = talk->inside, ports[1] = talk->inside_port, way = DOWN;
  }
  ip->check = 0;
  ip->check = folded(sum(bytes, head, 0));
  size_t rest = length - head;
  uint16_t *check = ip->protocol == IPPROTO_TCP ? &((struct tcphdr *)ports)->check : &((struct udphdr *)ports)->check;
  *check = 0;
  uint32_t pseudo = sum((unsigned char *)&ip->saddr, 8, ip->protocol + (uint32_t)rest);
  uint16_t found = folded(sum(bytes + head, rest, pseudo));
  *check = found || ip->protocol == IPPROTO_TCP ? found : 0xffff;
  return way;
}

static void take(int file) {
  static unsigned char bytes[PACKET_BYTES_MAX];
  ssize_t length = read(file, bytes, sizeof bytes);
  if (length <= 0) return;
  int which = translate(bytes, (size_t)length);
  if (which < 0) return;
  struct way *way = &ways[which];
  int64_t at = now();
  if (way->busy_until < at) way->busy_until = at;
  int64_t waiting = (way->busy_until - at) * bits_a_second / 8000000;
  if (waiting + length > queue_bytes || way->count == UNDER_WAY_MAX) {
    lost += (uint64_t)length;
    return;
  }
  struct packet *packet = &way->packets[(way->first + way->count) % UNDER_WAY_MAX];
  packet->bytes = malloc((size_t)length);
  if (!packet->bytes) return;
  memcpy(packet->bytes, bytes, (size_t)length);
  packet->length = (size_t)length;
  way->busy_until += length * 8000000 / bits_a_second;
  packet->due = way->busy_until + delay;
  way->count++;
}

static void give(int file, struct way *way) {
  while (way->count && way->packets[way->first].due <= now()) {
    struct packet *packet = &way->packets[way->first];
    if (write(file, packet->bytes, packet->length) < 0) errno = 0;
    way->crossed += packet->length;
    free(packet->bytes);
    way->first = (way->first + 1) % UNDER_WAY_MAX;
    way->count--;
  }
}

static int tell(void) {
  char asked[64];
  if (read(0, asked, sizeof asked) <= 0) return 0;
  printf("%llu %llu %llu\n", (unsigned long long)ways[UP].crossed, (unsigned long long)ways[DOWN].crossed,
         (unsigned long long)lost);
  fflush(stdout);
  return 1;
}

int main(int count, char **words) {
  if (count != 6) return 2;
  own = inet_addr(words[2]), bits_a_second = atoll(words[3]), delay = atoll(words[4]), queue_bytes = atoll(words[5]);
  if (bits_a_second <= 0) return 2;
  int file = tun(words[1]);
  puts("ready");
  fflush(stdout);
  for (;;) {
    int64_t due = INT64_MAX;
    for (int i = 0; i < 2; i++)
      if (ways[i].count && ways[i].packets[ways[i].first].due < due) due = ways[i].packets[ways[i].first].due;
    int64_t left = due == INT64_MAX ? 1000000 : due - now();
    struct timespec patience = {.tv_sec = left > 0 ? left / 1000000 : 0, .tv_nsec = left > 0 ? left % 1000000 * 1000 : 0};
    struct pollfd polled[2] = {{.fd = file, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    if (ppoll(polled, 2, &patience, NULL) < 0 && errno != EINTR) fail("ppoll");
    if (polled[1].revents && !tell()) return 0;
    if (polled[0].revents & POLLIN) take(file);
    for (int i = 0; i < 2; i++) give(file, &ways[i]);
  }
}
