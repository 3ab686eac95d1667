/*
 * Connects so many times a second at the most, each time to another address, until it is told to end (SIGTERM).
 *
 *   flow RATE
 *
 * The n-th connect goes to 127.A.B.C:7 with n = 65536 (A - 128) + 256 B + C; nobody listens there. Prints its pid on a
 * line when it begins, and when it ends, on a second one, how often it connected and in how many milliseconds.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NANOSECONDS 1000000000LL

static volatile sig_atomic_t ended;

static void end(int number) {
  (void)number;
  ended = 1;
}

static long long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * NANOSECONDS + time.tv_nsec;
}

int main(int count, char **words) {
  int rate = count == 2 ? atoi(words[1]) : 0;
  if (rate < 1) return 2;
  signal(SIGTERM, end);
  /* Datagrams: a connect of one sends nothing, so that nothing but the connect itself takes time. */
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (fd < 0) return 1;
  printf("%d\n", getpid());
  fflush(stdout);
  const long long began = now();
  long long next = began;
  unsigned number = 0;
  while (!ended && number < 0x7fffff) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(7), .sin_addr.s_addr = htonl(0x7f800000u + number)};
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) return 1;
    number++;
    /* Where the kernel made it wait, what was not sent meanwhile is not sent in a burst. */
    next += NANOSECONDS / rate;
    if (next < now()) next = now();
    struct timespec until = {.tv_sec = next / NANOSECONDS, .tv_nsec = next % NANOSECONDS};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
  }
  printf("%u %lld\n", number, (now() - began) / 1000000);
  return 0;
}
