/*
 * Makes connections for a check, and says first who it is.
 *
 *   connect [OPTION…] FAMILY ADDRESS [PORT]
 *
 *   FAMILY   inet, inet6, local (ADDRESS is a path), uring (inet, through io_uring)
 *   -n NAME  its comm, so that a check can give itself any bytes for a name
 *   -c COUNT so many connections, one after the other, each to the next port
 *   -w MS    waits that long between two of them
 *   -s SECS  stays alive that long afterwards (0.02 is 20 ms)
 *   -d       reads and throws away what comes, while it stays alive
 *   -q       opens no connection if one cannot be made: exit status 3 instead of 0
 *
 * Prints its pid on a line, before it connects. Whether the connect succeeds matters to nobody but -q.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

union address {
  struct sockaddr any;
  struct sockaddr_in inet;
  struct sockaddr_in6 inet6;
  struct sockaddr_un local;
};

static socklen_t parse(union address *to, const char *family, const char *text, int port) {
  memset(to, 0, sizeof *to);
  if (!strcmp(family, "inet6")) {
    to->inet6.sin6_family = AF_INET6;
    to->inet6.sin6_port = htons(port);
    return inet_pton(AF_INET6, text, &to->inet6.sin6_addr) == 1 ? sizeof to->inet6 : 0;
  }
  if (!strcmp(family, "local")) {
    to->local.sun_family = AF_UNIX;
    strncpy(to->local.sun_path, text, sizeof to->local.sun_path - 1);
    return sizeof to->local;
  }
  to->inet.sin_family = AF_INET;
  to->inet.sin_port = htons(port);
  return inet_pton(AF_INET, text, &to->inet.sin_addr) == 1 ? sizeof to->inet : 0;
}

/* One connect as one request of a ring; returns what connect() would have. */
static int connect_by_ring(int fd, const struct sockaddr *to, socklen_t size) {
  struct io_uring_params made = {0};
  int ring = syscall(SYS_io_uring_setup, 4, &made);
  if (ring < 0) return -1;
  char *queue = mmap(0, made.sq_off.array + made.sq_entries * sizeof(unsigned), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
  struct io_uring_sqe *request = mmap(0, made.sq_entries * sizeof *request, PROT_READ | PROT_WRITE,
                                      MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
  if (queue == MAP_FAILED || request == MAP_FAILED) return -1;
  memset(request, 0, sizeof *request);
  request->opcode = IORING_OP_CONNECT;
  request->fd = fd;
  request->addr = (unsigned long)to;
  request->off = size;
  *(unsigned *)(queue + made.sq_off.array) = 0;
  __atomic_store_n((unsigned *)(queue + made.sq_off.tail), 1, __ATOMIC_RELEASE);
  return syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0) == 1 ? 0 : -1;
}

/* The port is at the same place for both families. */
static void next_port(union address *to) { to->inet.sin_port = htons(ntohs(to->inet.sin_port) + 1); }

static void leave(int signal) {
  (void)signal;
  _exit(0);
}

static void leave_after(double seconds) {
  struct itimerval timer = {0};
  timer.it_value.tv_sec = seconds;
  timer.it_value.tv_usec = (seconds - timer.it_value.tv_sec) * 1e6;
  signal(SIGALRM, leave);
  setitimer(ITIMER_REAL, &timer, 0);
}

int main(int count, char **words) {
  int option, drain = 0, strict = 0, connections = 1, wait = 0;
  double stay = 0;
  while ((option = getopt(count, words, "n:c:w:s:dq")) != -1) {
    if (option == 'n') prctl(PR_SET_NAME, optarg);
    else if (option == 'c') connections = atoi(optarg);
    else if (option == 'w') wait = atoi(optarg);
    else if (option == 's') stay = atof(optarg);
    else if (option == 'd') drain = 1;
    else if (option == 'q') strict = 1;
    else return 2;
  }
  if (count - optind < 2) return 2;
  const char *family = words[optind];
  union address to;
  socklen_t size = parse(&to, family, words[optind + 1], count - optind > 2 ? atoi(words[optind + 2]) : 0);
  if (!size) return 2;

  printf("%d\n", getpid());
  fflush(stdout);
  int fd = -1;
  for (int made = 0; made < connections; made++) {
    if (made) {
      close(fd);
      usleep(wait * 1000);
      next_port(&to);
    }
    fd = socket(to.any.sa_family, SOCK_STREAM, 0);
    int result = strcmp(family, "uring") ? connect(fd, &to.any, size) : connect_by_ring(fd, &to.any, size);
    if (result < 0 && strict) {
      perror("connect");
      return 3;
    }
  }
  if (!stay) return 0;
  leave_after(stay);
  /* Whoever waits for the pid's line in a pipe gets its end now. */
  fclose(stdout);
  for (char bytes[4096]; drain && read(fd, bytes, sizeof bytes) > 0;) continue;
  pause();
  return 0;
}
