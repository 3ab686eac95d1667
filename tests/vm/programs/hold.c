/*
 * Holds one socket for a check that asks whose it is, and says first who holds it.
 *
 *   hold [-f] KIND SOURCE-PORT ADDRESS PORT
 *
 *   KIND     tcp, udp (connected), sendto (not connected: a datagram with its destination)
 *   ADDRESS  IPv4 or IPv6; ::ffff:192.0.2.1 is IPv4 through an IPv6 socket
 *   -f       a child holds it too
 *
 * Prints its pid, and the child's, on a line before it connects or sends. Ends when its TCP connect has an end,
 * otherwise when it is killed, and of itself after two minutes; the child ends with it.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Returns the size; a port alone where there is no address. */
static socklen_t address(struct sockaddr_storage *made, int family, const char *text, int port) {
  memset(made, 0, sizeof *made);
  made->ss_family = family;
  if (family == AF_INET6) {
    struct sockaddr_in6 *inet6 = (struct sockaddr_in6 *)made;
    inet6->sin6_port = htons(port);
    return !text || inet_pton(family, text, &inet6->sin6_addr) == 1 ? sizeof *inet6 : 0;
  }
  struct sockaddr_in *inet = (struct sockaddr_in *)made;
  inet->sin_port = htons(port);
  return !text || inet_pton(family, text, &inet->sin_addr) == 1 ? sizeof *inet : 0;
}

int main(int count, char **words) {
  int option, share = 0;
  while ((option = getopt(count, words, "f")) != -1) {
    if (option != 'f') return 2;
    share = 1;
  }
  if (count - optind != 4) return 2;
  words += optind;
  int tcp = !strcmp(words[0], "tcp");
  int family = strchr(words[2], ':') ? AF_INET6 : AF_INET;
  struct sockaddr_storage from, to;
  socklen_t size = address(&to, family, words[2], atoi(words[3]));
  if (!size) return 2;

  alarm(120);
  int fd = socket(family, tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
  address(&from, family, 0, atoi(words[1]));
  if (fd < 0 || bind(fd, (struct sockaddr *)&from, size) < 0) {
    perror("bind");
    return 1;
  }
  pid_t child = share ? fork() : 0;
  if (child < 0) return 1;
  if (share && child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pause();
    return 0;
  }
  printf(share ? "%d %d\n" : "%d\n", getpid(), child);
  fflush(stdout);
  if (!strcmp(words[0], "sendto")) {
    sendto(fd, "?", 1, 0, (struct sockaddr *)&to, size);
  } else {
    int made = connect(fd, (struct sockaddr *)&to, size);
    if (tcp && made < 0) return 0;
    send(fd, "?", 1, 0);
  }
  pause();
  return 0;
}
