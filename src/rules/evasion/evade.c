/*
 * Reaches another host, or a part of the machine, in one way that audit rules may not see.
 *
 *   evade WAY
 *
 * Each WAY is a row of the table in SECURITY.md. The destination is always 127.0.0.77, port 7007; where a way names a second
 * one to hide the first, that is 127.0.0.88, port 8008. Mostly nobody listens there: what matters is what the kernel reports.
 * Prints its pid on a line, and behind it the child's, where that is who reaches it.
 *
 * Exit status 0: it was done. 3: this kernel or machine has no such way, and its error is on standard error.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/io_uring.h>
#include <linux/sctp.h>
#include <linux/vm_sockets.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A network that does not answer keeps nobody for long. */
#define SECONDS 10

static struct sockaddr_in to = {.sin_family = AF_INET}, other = {.sin_family = AF_INET};
static char text[] = "hello";
static struct iovec piece = {.iov_base = text, .iov_len = sizeof text};

/* What it needs is not here. */
static int absent(const char *what) {
  perror(what);
  exit(3);
}

static int need(int result, const char *what) { return result < 0 ? absent(what) : result; }

static int stream(void) { return need(socket(AF_INET, SOCK_STREAM, 0), "socket"); }

static int datagram(void) { return need(socket(AF_INET, SOCK_DGRAM, 0), "socket"); }

static int sctp(void) { return need(socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP), "socket"); }

/* From now on somebody listens at the destination, and takes so many connections and one more. */
static int listens_for(int waiting) {
  int server = stream(), on = 1;
  need(setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "SO_REUSEADDR");
  need(bind(server, (void *)&to, sizeof to), "bind");
  need(listen(server, waiting), "listen");
  return server;
}

static int listens(void) { return listens_for(1); }

static struct msghdr message(struct sockaddr_in *name) {
  return (struct msghdr){.msg_name = name, .msg_namelen = sizeof *name, .msg_iov = &piece, .msg_iovlen = 1};
}

/* Connects and Fast Opens fail, since nobody listens; that they were refused before they began is another matter. */
static void began(long result, const char *what) {
  if (result < 0 && errno != ENETUNREACH && errno != ECONNREFUSED && errno != EINPROGRESS && errno != EALREADY && errno != EPIPE) absent(what);
}

static void sendto_with(int fd, int flags) {
  began(sendto(fd, text, sizeof text, flags, (void *)&to, sizeof to), "sendto");
}

static void sendmsg_with(int fd, int flags) {
  struct msghdr one = message(&to);
  began(sendmsg(fd, &one, flags), "sendmsg");
}

static void sendmmsg_with(int fd, int flags, struct sockaddr_in *second) {
  struct mmsghdr both[2] = {{.msg_hdr = message(&to)}, {.msg_hdr = message(second)}};
  began(sendmmsg(fd, both, second ? 2 : 1, flags), "sendmmsg");
}

/* A ring, and requests in it that were not submitted yet. */
struct ring {
  int fd;
  unsigned filled;
  struct io_uring_params made;
  char *queue;
  struct io_uring_sqe *requests;
};

static struct ring ring(unsigned flags) {
  struct ring new = {.made = {.flags = flags, .sq_thread_idle = 100}};
  new.fd = need(syscall(SYS_io_uring_setup, 8, &new.made), "io_uring_setup");
  new.queue = mmap(0, new.made.sq_off.array + new.made.sq_entries * sizeof(unsigned), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_POPULATE, new.fd, IORING_OFF_SQ_RING);
  new.requests = mmap(0, new.made.sq_entries * sizeof *new.requests, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                      new.fd, IORING_OFF_SQES);
  if (new.queue == MAP_FAILED || new.requests == MAP_FAILED) absent("mmap");
  return new;
}

static struct io_uring_sqe *request(struct ring *ring, int operation, int fd) {
  unsigned place = ring->filled++;
  struct io_uring_sqe *new = &ring->requests[place];
  memset(new, 0, sizeof *new);
  new->opcode = operation;
  new->fd = fd;
  ((unsigned *)(ring->queue + ring->made.sq_off.array))[place] = place;
  return new;
}

static struct io_uring_sqe *connecting(struct ring *ring, int fd, struct sockaddr_in *where) {
  struct io_uring_sqe *new = request(ring, IORING_OP_CONNECT, fd);
  new->addr = (uintptr_t)where;
  new->off = sizeof *where;
  return new;
}

/* A request that sends, with the address where that operation takes it. */
static struct io_uring_sqe *sending(struct ring *ring, int operation, int fd, struct sockaddr_in *where) {
  static struct msghdr hdr;
  struct io_uring_sqe *new = request(ring, operation, fd);
  if (operation == IORING_OP_SENDMSG || operation == IORING_OP_SENDMSG_ZC) {
    hdr = message(where);
    new->addr = (uintptr_t)&hdr;
    new->len = 1;
  } else {
    new->addr = (uintptr_t)text;
    new->len = sizeof text;
    new->addr2 = (uintptr_t)where;
    new->addr_len = sizeof *where;
  }
  return new;
}

/* Submits all requests, and waits until so many are done. */
static void hand_over(struct ring *ring, unsigned done) {
  __atomic_store_n((unsigned *)(ring->queue + ring->made.sq_off.tail), ring->filled, __ATOMIC_RELEASE);
  unsigned flags = IORING_ENTER_GETEVENTS, submitted = ring->filled;
  if (ring->made.flags & IORING_SETUP_SQPOLL) flags |= IORING_ENTER_SQ_WAKEUP, submitted = 0;
  need(syscall(SYS_io_uring_enter, ring->fd, submitted, done, flags, 0, 0), "io_uring_enter");
}

/* Submits all requests and waits until each is done. Returns what the last one that was done returned. */
static int submit(struct ring *ring) {
  hand_over(ring, ring->filled);
  char *done = mmap(0, ring->made.cq_off.cqes + ring->made.cq_entries * sizeof(struct io_uring_cqe), PROT_READ, MAP_SHARED,
                    ring->fd, IORING_OFF_CQ_RING);
  if (done == MAP_FAILED) absent("mmap");
  struct io_uring_cqe *results = (void *)(done + ring->made.cq_off.cqes);
  int result = results[ring->filled - 1].res;
  if (result < 0) errno = -result;
  return result < 0 ? -1 : result;
}

static void send_by_ring(int operation, int fd, int flags, unsigned how) {
  struct ring one = ring(0);
  struct io_uring_sqe *sends = sending(&one, operation, fd, &to);
  sends->msg_flags = flags;
  sends->flags = how;
  began(submit(&one), "io_uring");
}

static void connect_by_ring(unsigned setup, unsigned how) {
  struct ring one = ring(setup);
  connecting(&one, stream(), &to)->flags = how;
  began(submit(&one), "io_uring");
}

/* The first message connects. The second fails, since it names a destination and the socket is connected. */
static void fast_open_of_two(void) {
  listens();
  sendmmsg_with(stream(), MSG_FASTOPEN, &other);
}

/* The second is reported beside the first, and its address in place of the first one's. */
static void two_by_ring(void) {
  struct ring both = ring(0);
  connecting(&both, stream(), &to);
  connecting(&both, datagram(), &other);
  began(submit(&both), "io_uring");
}

/* The second is not reported, and its address is, as if it were the first one's. */
static void deceive_by_ring(void) {
  struct ring both = ring(0);
  connecting(&both, stream(), &to);
  sending(&both, IORING_OP_SEND, datagram(), &other);
  began(submit(&both), "io_uring");
}

/* A connect that is still under way when its process starts another program: nobody takes it. Whoever took the only place
 * is a child, so that its connect is not among what is seen. */
static void start_program_while_ring_connects(void) {
  listens_for(0);
  pid_t child = fork();
  if (!child) _exit(connect(stream(), (void *)&to, sizeof to) < 0);
  waitpid(child, 0, 0);
  struct ring one = ring(0);
  connecting(&one, stream(), &to)->flags = IOSQE_ASYNC;
  hand_over(&one, 0);
  usleep(100000);
  execl("/bin/sleep", "sleep", "1", NULL);
  absent("execl");
}

static int socket_by_ring(void) {
  struct ring one = ring(0);
  request(&one, IORING_OP_SOCKET, AF_INET)->off = SOCK_STREAM;
  return need(submit(&one), "io_uring");
}

static void connect_on_socket_by_ring(void) {
  int fd = socket_by_ring();
  struct ring one = ring(0);
  connecting(&one, fd, &to);
  began(submit(&one), "io_uring");
}

static void fast_open_by_option(void) {
  int fd = stream(), on = 1;
  need(setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof on), "TCP_FASTOPEN_CONNECT");
  began(connect(fd, (void *)&to, sizeof to), "connect");
  began(send(fd, text, sizeof text, MSG_NOSIGNAL), "send");
}

static void unspecified(void) {
  to.sin_family = AF_UNSPEC;
  sendto_with(datagram(), 0);
}

static void write_to(const char *path, const char *format, unsigned number) {
  int fd = need(open(path, O_WRONLY), path);
  need(dprintf(fd, format, number), path);
  close(fd);
}

/* In a network of its own, where it lets itself; its loopback is down, and nothing leaves it. */
static void echo_request(void) {
  struct icmphdr echo = {.type = ICMP_ECHO};
  gid_t group = getgid();
  need(unshare(CLONE_NEWUSER | CLONE_NEWNET), "unshare");
  write_to("/proc/self/setgroups", "deny", 0);
  write_to("/proc/self/gid_map", "0 %u 1", group);
  write_to("/proc/sys/net/ipv4/ping_group_range", "0 0", 0);
  int fd = need(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP), "socket");
  began(sendto(fd, &echo, sizeof echo, 0, (void *)&to, sizeof to), "sendto");
}

static void raw(void) {
  int fd = need(socket(AF_INET, SOCK_RAW, 253), "socket");
  sendto_with(fd, 0);
}

static void packet(void) {
  struct sockaddr_ll where = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = if_nametoindex("lo"),
                              .sll_halen = ETH_ALEN};
  int fd = need(socket(AF_PACKET, SOCK_DGRAM, 0), "socket");
  need(sendto(fd, text, sizeof text, 0, (void *)&where, sizeof where), "sendto");
}

/* To the machine's host, if there is one; nobody listens there. */
static void vsock(void) {
  struct sockaddr_vm where = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = 7007};
  int fd = need(socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
  connect(fd, (void *)&where, sizeof where);
}

/* Connects without a call that takes an address. */
static void sctp_connect_by_option(void) {
  began(setsockopt(sctp(), IPPROTO_SCTP, SCTP_SOCKOPT_CONNECTX, &to, sizeof to), "SCTP_SOCKOPT_CONNECTX");
}

/* As 32-bit programs call the kernel. Registers and pointers have 32 bits then. */
#ifdef __x86_64__
static long call32(long number, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r8 asm("r8") = f;
  asm volatile("push %%rbp; mov %%r8, %%rbp; int $0x80; pop %%rbp"
               : "=a"(result)
               : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), "r"(r8)
               : "memory");
  if (result < 0) errno = -result;
  return result < 0 ? -1 : result;
}

/* Memory that 32 bits reach. */
static void *low(const void *from, size_t size) {
  static char *next;
  if (!next) {
    next = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (next == MAP_FAILED) absent("mmap");
  }
  char *place = next;
  next += (size + 15) / 16 * 16;
  return memcpy(place, from, size);
}

static void *low_destination(void) { return low(&to, sizeof to); }

#define SOCKETCALL 102

static void socketcall_connect(void) {
  uint32_t made[] = {AF_INET, SOCK_STREAM, 0};
  int fd = need(call32(SOCKETCALL, 1, (long)low(made, sizeof made), 0, 0, 0, 0), "socketcall");
  uint32_t arguments[] = {fd, (uintptr_t)low_destination(), sizeof to};
  began(call32(SOCKETCALL, 3, (long)low(arguments, sizeof arguments), 0, 0, 0, 0), "socketcall");
}

static void socketcall_sendto(int fd, int flags) {
  uint32_t arguments[] = {fd,    (uintptr_t)low(text, sizeof text), sizeof text,
                          flags, (uintptr_t)low_destination(),       sizeof to};
  began(call32(SOCKETCALL, 11, (long)low(arguments, sizeof arguments), 0, 0, 0, 0), "socketcall");
}

static void sendto32(int fd, int flags) {
  long result =
      call32(369, fd, (long)low(text, sizeof text), sizeof text, flags, (long)low_destination(), sizeof to);
  began(result, "sendto");
}

/* A kernel without x32 refuses it, and would report it all the same. */
static void x32_connect(void) { syscall(0x40000000 + SYS_connect, stream(), &to, sizeof to); }
#endif

/* A child that has a socket from its parent. */
static void inherited(void) {
  int fd = stream();
  pid_t child = fork();
  if (child) {
    waitpid(child, 0, 0);
    return;
  }
  printf("%d\n", getpid());
  connect(fd, (void *)&to, sizeof to);
  _exit(0);
}

/* A child that gets a connected socket from its parent, by a message or by taking it. */
static int connected(void) {
  int fd = stream();
  listens();
  need(connect(fd, (void *)&to, sizeof to), "connect");
  return fd;
}

static void passed(void) {
  int ends[2], fd = connected();
  need(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
  char space[CMSG_SPACE(sizeof fd)] = {0};
  struct msghdr carries = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
  pid_t child = fork();
  if (!child) {
    printf("%d\n", getpid());
    need(recvmsg(ends[1], &carries, 0), "recvmsg");
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&carries)), sizeof fd);
    _exit(write(fd, text, sizeof text) < 0);
  }
  struct cmsghdr *first = CMSG_FIRSTHDR(&carries);
  first->cmsg_level = SOL_SOCKET;
  first->cmsg_type = SCM_RIGHTS;
  first->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(first), &fd, sizeof fd);
  need(sendmsg(ends[0], &carries, 0), "sendmsg");
  waitpid(child, 0, 0);
}

static void taken(void) {
  int fd = connected();
  pid_t parent = getpid(), child = fork();
  if (!child) {
    printf("%d\n", getpid());
    close(fd);
    int holder = need(syscall(SYS_pidfd_open, parent, 0), "pidfd_open");
    int copy = need(syscall(SYS_pidfd_getfd, holder, fd, 0), "pidfd_getfd");
    _exit(write(copy, text, sizeof text) < 0);
  }
  prctl(PR_SET_PTRACER, child);
  waitpid(child, 0, 0);
}

static void accepted(void) {
  int server = listens();
  pid_t child = fork();
  if (!child) _exit(connect(stream(), (void *)&to, sizeof to) < 0);
  need(accept(server, 0, 0), "accept");
  waitpid(child, 0, 0);
}

static void own_network(void) {
  need(unshare(CLONE_NEWUSER | CLONE_NEWNET), "unshare");
  /* Its loopback is down. */
  connect(stream(), (void *)&to, sizeof to);
}

int main(int count, char **words) {
  if (count < 2) return 2;
  const char *way = words[1];
  inet_pton(AF_INET, "127.0.0.77", &to.sin_addr);
  inet_pton(AF_INET, "127.0.0.88", &other.sin_addr);
  to.sin_port = htons(7007);
  other.sin_port = htons(8008);
  alarm(SECONDS);
  setvbuf(stdout, NULL, _IOLBF, 0);
  printf("%d\n", getpid());
#define WAY(NAME, CODE) \
  if (!strcmp(way, NAME)) { CODE; return 0; }
  WAY("connect", connect(stream(), (void *)&to, sizeof to))
  WAY("udp-connect", connect(datagram(), (void *)&to, sizeof to))
  WAY("mptcp", connect(need(socket(AF_INET, SOCK_STREAM, 262), "socket"), (void *)&to, sizeof to))
  WAY("sctp", began(connect(sctp(), (void *)&to, sizeof to), "connect"))
  WAY("sctp-option", sctp_connect_by_option())
  WAY("sctp-sendto", sendto_with(sctp(), 0))
  WAY("own-network", own_network())
  WAY("tfo-sendto", sendto_with(stream(), MSG_FASTOPEN))
  WAY("tfo-sendmsg", sendmsg_with(stream(), MSG_FASTOPEN))
  WAY("tfo-sendmmsg", sendmmsg_with(stream(), MSG_FASTOPEN, NULL))
  WAY("tfo-sendmmsg-two", fast_open_of_two())
  WAY("tfo-option", fast_open_by_option())
  WAY("udp-sendto", sendto_with(datagram(), 0))
  WAY("udp-sendmsg", sendmsg_with(datagram(), 0))
  WAY("udp-sendmmsg", sendmmsg_with(datagram(), 0, NULL))
  WAY("udp-sendmmsg-two", sendmmsg_with(datagram(), 0, &other))
  WAY("udp-unspec", unspecified())
  WAY("ping", echo_request())
  WAY("raw", raw())
  WAY("packet", packet())
  WAY("vsock", vsock())
  WAY("uring-connect", connect_by_ring(0, 0))
  WAY("uring-connect-worker", connect_by_ring(0, IOSQE_ASYNC))
  WAY("uring-connect-poller", connect_by_ring(IORING_SETUP_SQPOLL, 0))
  WAY("uring-connect-execve", start_program_while_ring_connects())
  WAY("uring-connect-two", two_by_ring())
  WAY("uring-connect-deceiving", deceive_by_ring())
  WAY("uring-socket", connect_on_socket_by_ring())
  WAY("uring-dark", send_by_ring(IORING_OP_SEND, socket_by_ring(), MSG_FASTOPEN, 0))
  WAY("uring-tfo-sendmsg", send_by_ring(IORING_OP_SENDMSG, stream(), MSG_FASTOPEN, 0))
  WAY("uring-tfo-send", send_by_ring(IORING_OP_SEND, stream(), MSG_FASTOPEN, 0))
  WAY("uring-tfo-worker", send_by_ring(IORING_OP_SENDMSG, stream(), MSG_FASTOPEN, IOSQE_ASYNC))
  WAY("uring-udp-sendmsg", send_by_ring(IORING_OP_SENDMSG, datagram(), 0, 0))
  WAY("uring-udp-send", send_by_ring(IORING_OP_SEND, datagram(), 0, 0))
  WAY("uring-udp-send-zc", send_by_ring(IORING_OP_SEND_ZC, datagram(), 0, 0))
  WAY("uring-udp-sendmsg-zc", send_by_ring(IORING_OP_SENDMSG_ZC, datagram(), 0, 0))
  WAY("uring-udp-worker", send_by_ring(IORING_OP_SENDMSG, datagram(), 0, IOSQE_ASYNC))
#ifdef __x86_64__
  WAY("socketcall-connect", socketcall_connect())
  WAY("socketcall-tfo", socketcall_sendto(stream(), MSG_FASTOPEN))
  WAY("socketcall-udp", socketcall_sendto(datagram(), 0))
  WAY("tfo-sendto32", sendto32(stream(), MSG_FASTOPEN))
  WAY("x32-connect", x32_connect())
#endif
  WAY("inherited", inherited())
  WAY("passed", passed())
  WAY("taken", taken())
  WAY("accepted", accepted())
  fprintf(stderr, "evade: there is no way %s\n", way);
  return 2;
}
