/* A wall clock that a test can step for one program and its children: preloaded, it adds the seconds that stand in the
   first eight bytes of the file STEPPED_CLOCK to CLOCK_REALTIME. Monotonic clocks are left alone, as by settimeofday. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long* offset_s;

__attribute__((constructor)) static void map_offset(void) {
  const char* path = getenv("STEPPED_CLOCK");
  const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return;
  void* page = mmap(0, sizeof(long long), PROT_READ, MAP_SHARED, fd, 0);
  if (page != MAP_FAILED) offset_s = page;
  close(fd);
}

int clock_gettime(clockid_t id, struct timespec* now) {
  const int failed = (int)syscall(SYS_clock_gettime, id, now);
  const int is_wall = id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE;
  if (!failed && is_wall && offset_s) now->tv_sec += *offset_s;
  return failed;
}

int gettimeofday(struct timeval* restrict now, void* restrict zone) {
  (void)zone;
  struct timespec fine;
  if (clock_gettime(CLOCK_REALTIME, &fine)) return -1;
  now->tv_sec = fine.tv_sec;
  now->tv_usec = fine.tv_nsec / 1000;
  return 0;
}

time_t time(time_t* out) {
  struct timespec fine;
  clock_gettime(CLOCK_REALTIME, &fine);
  if (out) *out = fine.tv_sec;
  return fine.tv_sec;
}
