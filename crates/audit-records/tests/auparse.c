/* libauparse, for the tests and the benchmark: reads a stream and says what it found.
 *
 *   auparse fields FILE           every field of every record: serial, type of the record, name, value, a tab between
 *   auparse time FILE PASSES      reads the file so often and asks for every field; nanoseconds of processor time a pass
 */
#include <auparse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What a reader takes from a socket at once. */
#define READ (64 * 1024)

static int print;
static unsigned long fields;

static void ready(auparse_state_t *au, auparse_cb_event_t event, void *unused) {
	(void)unused;
	if (event != AUPARSE_CB_EVENT_READY)
		return;
	auparse_first_record(au);
	do {
		unsigned long serial = auparse_get_serial(au);
		int type = auparse_get_type(au);
		auparse_first_field(au);
		do {
			const char *name = auparse_get_field_name(au), *value = auparse_get_field_str(au);
			fields += name && value;
			if (print)
				printf("%lu\t%d\t%s\t%s\n", serial, type, name ? name : "", value ? value : "");
		} while (auparse_next_field(au) > 0);
	} while (auparse_next_record(au) > 0);
}

static void pass(const char *bytes, size_t size) {
	auparse_state_t *au = auparse_init(AUSOURCE_FEED, NULL);
	auparse_add_callback(au, ready, NULL, NULL);
	for (size_t at = 0; at < size; at += READ)
		auparse_feed(au, bytes + at, size - at < READ ? size - at : READ);
	auparse_flush_feed(au);
	auparse_destroy(au);
}

int main(int count, char **arguments) {
	FILE *file = count >= 3 ? fopen(arguments[2], "rb") : NULL;
	if (!file)
		return 2;
	fseek(file, 0, SEEK_END);
	size_t size = ftell(file);
	rewind(file);
	char *bytes = malloc(size + 1);
	if (!bytes || fread(bytes, 1, size, file) != size)
		return 2;
	int passes = count > 3 ? atoi(arguments[3]) : 1;
	print = !strcmp(arguments[1], "fields");
	struct timespec start, end;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
	for (int done = 0; done < passes; done++)
		pass(bytes, size);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	if (!print)
		printf("%.0f %lu\n", ((end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)) / passes, fields / passes);
	return 0;
}
