/*
 * A client with GLib, and the code that gdbus-codegen made of the interface's file. What it does and prints: mod.rs.
 */
#include <stdio.h>
#include <stdlib.h>

#include "audit.h"

#define NAME "org.opensnitch.Audit"
#define OBJECT "/org/opensnitch/Audit"

/* The first thing that fails is the last one done. */
static void need(gboolean done, GError *error, const char *what) {
  if (done) return;
  fprintf(stderr, "%s: %s\n", what, error->message);
  exit(1);
}

static void print_event(const char *what, GVariant *event) {
  const char *program = "", *host = "";
  guint16 port = 0;
  g_variant_lookup(event, "ProcPath", "&s", &program);
  g_variant_lookup(event, "DstHost", "&s", &host);
  g_variant_lookup(event, "DstPort", "q", &port);
  printf("%s %s %s:%u\n", what, program, host, port);
}

static void seen(AuditSubscription *from, const char *type, const char *program, GVariant *event, gpointer done) {
  (void)from, (void)type, (void)program;
  print_event("seen", event);
  *(gboolean *)done = TRUE;
}

int main(int argc, char **argv) {
  guint32 pid = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
  GError *error = NULL;
  GVariant *event, *events, *query;
  guint64 next;
  gboolean done = FALSE;

  setvbuf(stdout, NULL, _IOLBF, 0);
  Audit *audit = audit_proxy_new_for_bus_sync(G_BUS_TYPE_SYSTEM, G_DBUS_PROXY_FLAGS_NONE, NAME, OBJECT, NULL, &error);
  need(audit != NULL, error, "the service");
  printf("connected %d\n", audit_get_connected(audit));

  need(audit_call_get_event_by_pid_sync(audit, pid, &event, NULL, &error), error, "GetEventByPid");
  print_event("event", event);

  query = g_variant_new_parsed("{'Pid': <%u>, 'EventType': <['connect', 'send']>}", pid);
  need(audit_call_find_events_sync(audit, query, &events, &next, NULL, &error), error, "FindEvents");
  printf("found %zu, next %" G_GUINT64_FORMAT "\n", g_variant_n_children(events), next);

  audit_call_get_event_by_pid_sync(audit, 1, &event, NULL, &error);
  printf("error %s\n", g_dbus_error_get_remote_error(error));
  g_clear_error(&error);

  AuditSubscription *subscription = audit_subscription_proxy_new_for_bus_sync(
      G_BUS_TYPE_SYSTEM, G_DBUS_PROXY_FLAGS_NONE, NAME, OBJECT, NULL, &error);
  need(subscription != NULL, error, "the subscription");
  g_signal_connect(subscription, "event-seen", G_CALLBACK(seen), &done);
  query = g_variant_new_parsed("{'EventType': <'connect'>}");
  need(audit_call_subscribe_sync(audit, query, NULL, &error), error, "Subscribe");
  while (!done) g_main_context_iteration(NULL, TRUE);
  need(audit_call_unsubscribe_sync(audit, NULL, &error), error, "Unsubscribe");
  puts("end");
  return 0;
}
