/*
 * The two ways in which a 32-bit program connects: through socketcall, as old C libraries do on x86, and directly.
 *
 *   connect32 socketcall|direct
 *
 * Prints its pid, then connects to 127.0.0.14, port 80. Without any library, so that none is needed.
 */
#ifdef __arm__
static int call(int number, int a, int b, int c) {
  register int r7 __asm__("r7") = number, r0 __asm__("r0") = a, r1 __asm__("r1") = b, r2 __asm__("r2") = c;
  __asm__ volatile("svc #0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2) : "memory");
  return r0;
}

enum { SOCKET = 281, CONNECT = 283 };
#else
static int call(int number, int a, int b, int c) {
  int result;
  __asm__ volatile("int $0x80" : "=a"(result) : "0"(number), "b"(a), "c"(b), "d"(c) : "memory");
  return result;
}

enum { SOCKET = 359, CONNECT = 362 };
#endif
enum { EXIT = 1, WRITE = 4, GETPID = 20, SOCKETCALL = 102 };
enum { CALL_SOCKET = 1, CALL_CONNECT = 3 };
enum { INET = 2, STREAM = 1 };

static void print(unsigned number) {
  char line[12];
  char *at = line + sizeof line;
  *--at = '\n';
  do *--at = '0' + number % 10;
  while (number /= 10);
  call(WRITE, 1, (int)at, line + sizeof line - at);
}

static const struct {
  unsigned short family, port;
  unsigned char host[4];
  char zero[8];
} to = {INET, 0x5000, {127, 0, 0, 14}, {0}};

/* argv[1] stands on the stack where the kernel left it: above argc and argv[0]. */
#ifdef __arm__
__asm__(".globl _start\n_start:\n  ldr r0, [sp, #8]\n  b begin\n");
#else
__asm__(".globl _start\n_start:\n  push 8(%esp)\n  call begin\n");
#endif

__attribute__((noreturn, used)) void begin(const char *way) {
  print(call(GETPID, 0, 0, 0));
  if (way && *way == 's') {
    unsigned long make[] = {INET, STREAM, 0};
    unsigned long arguments[] = {call(SOCKETCALL, CALL_SOCKET, (int)make, 0), (unsigned long)&to, sizeof to};
    call(SOCKETCALL, CALL_CONNECT, (int)arguments, 0);
  } else {
    call(CONNECT, call(SOCKET, INET, STREAM, 0), (int)&to, sizeof to);
  }
  call(EXIT, 0, 0, 0);
  for (;;) continue;
}
