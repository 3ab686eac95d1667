/*
 * A process whose /proc/PID/cmdline is not read to its end before that process ends.
 *
 *     hang UID [DEVICE]
 *
 * It is its own file system, too: the parent answers the kernel's FUSE requests, the child is the process in question, a
 * process of the user UID. The child has a dirty page of a file there and maps the file once more, this time for direct I/O.
 * So the kernel writes the page first, and holds the lock of the child's memory meanwhile (fuse_file_mmap, fs/fuse/file.c).
 * The parent never answers that write. DEVICE is FUSE's, /dev/fuse. It then says the child's pid, and ends with its standard input; both are gone then.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SIZE 4096
#define FILE_NODE 2

static void need(int done, const char *what)
{
	if (!done) {
		perror(what);
		exit(1);
	}
}

static void answer(int fuse, unsigned long unique, int error, void *data, size_t length)
{
	struct fuse_out_header header = { .len = sizeof header + length, .error = error, .unique = unique };
	struct iovec parts[] = { { &header, sizeof header }, { data, length } };
	need(writev(fuse, parts, length ? 2 : 1) >= 0 || errno == ENOENT, "answer");
}

static struct fuse_attr attributes(unsigned long node)
{
	int is_file = node == FILE_NODE;
	return (struct fuse_attr){
		.ino = node, .size = SIZE, .nlink = 1, .mode = is_file ? S_IFREG | 0600 : S_IFDIR | 0700,
	};
}

static void child(uid_t uid)
{
	/* The parent opens the file for direct I/O the second time. */
	int first = open("/tmp/file", O_RDWR), second = open("/tmp/file", O_RDWR);
	need(first >= 0 && second >= 0, "open");
	char *page = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, first, 0);
	need(page != MAP_FAILED, "mmap");
	page[0] = 1;
	need(setresuid(uid, uid, uid) == 0, "setresuid");
	need(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, "PR_SET_PDEATHSIG");
	mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, second, 0);
	pause();
}

int main(int argc, char **argv)
{
	need(argc == 2 || argc == 3, "usage");
	/* The mount is seen nowhere else. */
	need(unshare(CLONE_NEWNS) == 0, "unshare");
	need(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "private");
	const char *device = argc > 2 ? argv[2] : "/dev/fuse";
	int fuse = open(device, O_RDWR | O_CLOEXEC);
	need(fuse >= 0, device);
	char options[64];
	snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse);
	need(mount("hang", "/tmp", "fuse", 0, options) == 0, "mount");

	pid_t pid = fork();
	need(pid >= 0, "fork");
	if (pid == 0) {
		close(fuse);
		child(atoi(argv[1]));
		return 0;
	}
	static char request[1 << 20], zeros[SIZE];
	int opened = 0;
	while (read(fuse, request, sizeof request) > 0) {
		struct fuse_in_header *in = (void *)request;
		switch (in->opcode) {
		case FUSE_INIT: {
			struct fuse_init_out out = { .major = 7, .minor = 31, .max_write = SIZE };
			answer(fuse, in->unique, 0, &out, sizeof out);
			break;
		}
		case FUSE_LOOKUP: {
			struct fuse_entry_out out = { .nodeid = FILE_NODE, .attr = attributes(FILE_NODE) };
			answer(fuse, in->unique, 0, &out, sizeof out);
			break;
		}
		case FUSE_GETATTR: {
			struct fuse_attr_out out = { .attr = attributes(in->nodeid) };
			answer(fuse, in->unique, 0, &out, sizeof out);
			break;
		}
		case FUSE_OPEN: {
			struct fuse_open_out out = { .open_flags = opened++ ? FOPEN_DIRECT_IO : FOPEN_KEEP_CACHE };
			answer(fuse, in->unique, 0, &out, sizeof out);
			break;
		}
		case FUSE_READ:
			answer(fuse, in->unique, 0, zeros, sizeof zeros);
			break;
		case FUSE_WRITE:
			printf("%d\n", pid);
			fflush(stdout);
			while (getchar() != EOF)
				;
			return 0;
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
		case FUSE_INTERRUPT:
			break;
		default:
			answer(fuse, in->unique, -ENOSYS, NULL, 0);
		}
	}
	perror("read");
	return 1;
}
