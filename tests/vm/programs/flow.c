/*
 * Connects so many times a second, each time to another address, until it is told to end (SIGTERM).
 *
 *   flow RATE
 *
 * The n-th connect goes to 127.A.B.C:7 with n = 65536 (A - 128) + 256 B + C; nobody listens there. Prints its pid on a
 * line when it begins, and on a second one how often it connected when it ends.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t ended;

static void end(int number) {
  (void)number;
  ended = 1;
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
  struct timespec next;
  clock_gettime(CLOCK_MONOTONIC, &next);
  unsigned number = 0;
  while (!ended && number < 0x7fffff) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(7), .sin_addr.s_addr = htonl(0x7f800000u + number)};
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) return 1;
    number++;
    next.tv_nsec += 1000000000L / rate;
    if (next.tv_nsec >= 1000000000L) {
      next.tv_nsec -= 1000000000L;
      next.tv_sec++;
    }
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
  }
  printf("%u\n", number);
  return 0;
}
