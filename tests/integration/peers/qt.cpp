/*
 * A client with Qt, and the classes that qdbusxml2cpp made of the interface's file. What it does and prints: mod.rs.
 */
#include <cstdio>
#include <cstdlib>

#include <QtCore/QCoreApplication>
#include <QtDBus/QtDBus>

// All in one: most of the time goes into Qt's own headers.
#include "audit.cpp"
#include "audit-moc.cpp"

static const QString name = "org.opensnitch.Audit", object = "/org/opensnitch/Audit";

// The first thing that fails is the last one done.
template <typename Reply> static Reply answered(Reply reply) {
  reply.waitForFinished();
  if (!reply.isError()) return reply;
  fprintf(stderr, "%s\n", qPrintable(reply.error().message()));
  exit(1);
}

static void print_event(const char *what, const QVariantMap &event) {
  printf("%s %s %s:%u\n", what, qPrintable(event["ProcPath"].toString()), qPrintable(event["DstHost"].toString()),
         event["DstPort"].toUInt());
}

int main(int argc, char **argv) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  QCoreApplication program(argc, argv);
  qDBusRegisterMetaType<QList<QVariantMap>>();
  qDBusRegisterMetaType<QMap<QString, qulonglong>>();
  const uint pid = program.arguments().value(1).toUInt();
  const auto bus = QDBusConnection::systemBus();
  OrgOpensnitchAuditInterface audit(name, object, bus);
  printf("connected %d\n", audit.connected());

  print_event("event", answered(audit.GetEventByPid(pid)).value());

  const auto found = answered(audit.FindEvents({{"Pid", pid}, {"EventType", QStringList{"connect", "send"}}}));
  printf("found %d, next %llu\n", int(found.argumentAt<0>().size()), found.argumentAt<1>());

  auto unknown = audit.GetEventByPid(1);
  unknown.waitForFinished();
  printf("error %s\n", qPrintable(unknown.error().name()));

  OrgOpensnitchAuditSubscriptionInterface subscription(name, object, bus);
  QObject::connect(&subscription, &OrgOpensnitchAuditSubscriptionInterface::EventSeen,
                   [&](const QString &, const QString &, const QVariantMap &event) {
                     print_event("seen", event);
                     program.quit();
                   });
  answered(audit.Subscribe({{"EventType", "connect"}}));
  program.exec();
  answered(audit.Unsubscribe());
  // A map of Qt's own type; what it counts is for root.
  if (audit.statistics().contains("Reconnects")) puts("end");
}
