/*
 * A client with sd-bus, systemd's library. What it does and prints: mod.rs.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

#define NAME "org.opensnitch.Audit"
#define OBJECT "/org/opensnitch/Audit"

/* The first thing that fails is the last one done. */
static int need(int result, const char *what) {
  if (result >= 0) return result;
  fprintf(stderr, "%s: %s\n", what, strerror(-result));
  exit(1);
}

/* Calls a method of the service. It may answer with an error where there is a place for it. */
static sd_bus_message *call(sd_bus *bus, sd_bus_error *error, const char *method, const char *types, ...) {
  sd_bus_message *message, *reply = NULL;
  va_list arguments;
  need(sd_bus_message_new_method_call(bus, &message, NAME, OBJECT, NAME, method), method);
  va_start(arguments, types);
  need(sd_bus_message_appendv(message, types, arguments), method);
  va_end(arguments);
  const int result = sd_bus_call(bus, message, 0, error, &reply);
  if (!error) need(result, method);
  return reply;
}

/* Reads an event, an a{sv}, and prints what it says. */
static void print_event(const char *what, sd_bus_message *message) {
  const char *key, *program = "", *host = "";
  uint16_t port = 0;
  need(sd_bus_message_enter_container(message, 'a', "{sv}"), "an event");
  while (need(sd_bus_message_enter_container(message, 'e', "sv"), "a key")) {
    need(sd_bus_message_read(message, "s", &key), "the name of a key");
    if (!strcmp(key, "ProcPath")) need(sd_bus_message_read(message, "v", "s", &program), key);
    else if (!strcmp(key, "DstHost")) need(sd_bus_message_read(message, "v", "s", &host), key);
    else if (!strcmp(key, "DstPort")) need(sd_bus_message_read(message, "v", "q", &port), key);
    else need(sd_bus_message_skip(message, "v"), key);
    need(sd_bus_message_exit_container(message), key);
  }
  need(sd_bus_message_exit_container(message), "an event");
  printf("%s %s %s:%u\n", what, program, host, port);
}

static int seen(sd_bus_message *signal, void *done, sd_bus_error *error) {
  const char *type, *program;
  (void)error;
  need(sd_bus_message_read(signal, "ss", &type, &program), "a signal");
  print_event("seen", signal);
  *(int *)done = 1;
  return 0;
}

int main(int argc, char **argv) {
  uint32_t pid = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
  sd_bus *bus;
  sd_bus_error error = SD_BUS_ERROR_NULL;
  sd_bus_message *reply;
  uint64_t next;
  int connected, rows = 0, done = 0;

  setvbuf(stdout, NULL, _IOLBF, 0);
  need(sd_bus_open_system(&bus), "the bus");
  need(sd_bus_get_property_trivial(bus, NAME, OBJECT, NAME, "Connected", NULL, 'b', &connected), "Connected");
  printf("connected %d\n", connected);

  print_event("event", call(bus, NULL, "GetEventByPid", "u", pid));

  reply = call(bus, NULL, "FindEvents", "a{sv}", 2, "Pid", "u", pid, "EventType", "as", 2, "connect", "send");
  need(sd_bus_message_enter_container(reply, 'a', "a{sv}"), "the events");
  for (; need(sd_bus_message_at_end(reply, 0), "the events") == 0; rows++) {
    need(sd_bus_message_skip(reply, "a{sv}"), "an event");
  }
  need(sd_bus_message_exit_container(reply), "the events");
  need(sd_bus_message_read(reply, "t", &next), "the cursor");
  printf("found %d, next %llu\n", rows, (unsigned long long)next);

  call(bus, &error, "GetEventByPid", "u", 1);
  printf("error %s\n", error.name);

  need(sd_bus_match_signal(bus, NULL, NAME, OBJECT, NAME ".Subscription", "EventSeen", seen, &done), "a match rule");
  call(bus, NULL, "Subscribe", "a{sv}", 1, "EventType", "s", "connect");
  while (!done) {
    if (need(sd_bus_process(bus, NULL), "the bus") == 0) need(sd_bus_wait(bus, UINT64_MAX), "the bus");
  }
  call(bus, NULL, "Unsubscribe", "");
  puts("end");
  return 0;
}
