/* The clock of a machine as a test sets it: the real one, and what TEST_CLOCK says besides. Loaded before the C library. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Seconds, in a file that whoever sets the clock writes to. */
static volatile long long *ahead;

__attribute__((constructor)) static void begin(void) {
  const char *name = getenv("TEST_CLOCK");
  int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *seen = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
  if (seen != MAP_FAILED) ahead = seen;
  close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  int done = (int)syscall(SYS_clock_gettime, clock, time);
  if (done == 0 && clock == CLOCK_REALTIME && ahead) time->tv_sec += *ahead;
  return done;
}
