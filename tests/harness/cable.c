/* A bad cable: carries frames between an interface and a tap that it makes, late and not all of them.

   cable INTERFACE TAP DELAY_US JITTER_US LOST_OF_A_MILLION SEED

   Says "ready" when the tap is there. Frames keep their order in each direction. Ends when nobody holds its standard input. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* A frame as large as the kernel gathers them, with what it says of their checksums before it. */
enum { FRAME_BYTES_MAX = 10 + 14 + 65536, UNDER_WAY_MAX = 8192 };

struct frame {
  int64_t due;
  ssize_t length;
  unsigned char *bytes;
};

struct way {
  int from, to;
  struct frame frames[UNDER_WAY_MAX];
  unsigned first, count;
  int64_t last;
};

static int64_t delay, jitter, lost;
static uint64_t chance;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

/* splitmix64: the same for the same seed. */
static uint64_t draw(uint64_t below) {
  uint64_t x = chance += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return below ? (x ^ (x >> 31)) % below : 0;
}

static int interface(const char *name) {
  int raw = socket(AF_PACKET, SOCK_RAW, 0), yes = 1;
  if (raw < 0) fail("socket");
  /* What this program sends itself is not to come back. */
  if (setsockopt(raw, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes)) fail("PACKET_IGNORE_OUTGOING");
  if (setsockopt(raw, SOL_PACKET, PACKET_VNET_HDR, &yes, sizeof yes)) fail("PACKET_VNET_HDR");
  struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
  at.sll_ifindex = (int)if_nametoindex(name);
  if (!at.sll_ifindex || bind(raw, (struct sockaddr *)&at, sizeof at)) fail(name);
  return raw;
}

static int tap(const char *name) {
  int file = open("/dev/net/tun", O_RDWR);
  if (file < 0) fail("/dev/net/tun");
  struct ifreq wanted = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
  strncpy(wanted.ifr_name, name, IFNAMSIZ - 1);
  if (ioctl(file, TUNSETIFF, &wanted)) fail("TUNSETIFF");
  return file;
}

static void take(struct way *way) {
  static unsigned char bytes[FRAME_BYTES_MAX];
  ssize_t length = read(way->from, bytes, sizeof bytes);
  if (length <= 0 || way->count == UNDER_WAY_MAX || draw(1000000) < (uint64_t)lost) return;
  struct frame *frame = &way->frames[(way->first + way->count) % UNDER_WAY_MAX];
  frame->bytes = malloc((size_t)length);
  if (!frame->bytes) return;
  memcpy(frame->bytes, bytes, (size_t)length);
  frame->length = length;
  frame->due = now() + delay + (int64_t)draw((uint64_t)jitter);
  if (frame->due < way->last) frame->due = way->last;
  way->last = frame->due;
  way->count++;
}

static void give(struct way *way) {
  while (way->count && way->frames[way->first].due <= now()) {
    struct frame *frame = &way->frames[way->first];
    /* A frame that the other end does not take is lost, as on any cable. */
    if (write(way->to, frame->bytes, (size_t)frame->length) < 0) errno = 0;
    free(frame->bytes);
    way->first = (way->first + 1) % UNDER_WAY_MAX;
    way->count--;
  }
}

int main(int count, char **words) {
  static struct way ways[2];
  if (count != 7) return 2;
  delay = atoll(words[3]), jitter = atoll(words[4]), lost = atoll(words[5]), chance = strtoull(words[6], NULL, 10);
  int one = interface(words[1]), other = tap(words[2]);
  ways[0].from = ways[1].to = one;
  ways[0].to = ways[1].from = other;
  puts("ready");
  fflush(stdout);
  for (;;) {
    int64_t due = INT64_MAX;
    for (int i = 0; i < 2; i++)
      if (ways[i].count && ways[i].frames[ways[i].first].due < due) due = ways[i].frames[ways[i].first].due;
    int64_t left = due == INT64_MAX ? 1000000 : due - now();
    struct timespec patience = {.tv_sec = left > 0 ? left / 1000000 : 0, .tv_nsec = left > 0 ? left % 1000000 * 1000 : 0};
    struct pollfd polled[3] = {{.fd = one, .events = POLLIN}, {.fd = other, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    if (ppoll(polled, 3, &patience, NULL) < 0 && errno != EINTR) fail("ppoll");
    if (polled[2].revents) return 0;
    for (int i = 0; i < 2; i++) {
      if (polled[i].revents & POLLIN) take(&ways[i]);
      give(&ways[i]);
    }
  }
}
